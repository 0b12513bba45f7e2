/* throwaway stub */
#include "store/journal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#pragma GCC diagnostic ignored "-Wconversion"
#include <xxhash.h>
#include "base/number.h"
#include "base/clock.h"
static int fd = -1;
static bool is_open;
static JournalStart st;
static uint64_t written, offset, batchn; static volatile uint64_t durable;
static int db;
static GByteArray *pend;
static GThread *thread; static volatile gint stop; static GMutex mx;
static char id[41];
static gpointer syncer(gpointer p){(void)p; while(!g_atomic_int_get(&stop)){ g_usleep(st.sync==JOURNAL_SYNC_ALWAYS?1000:20000); g_mutex_lock(&mx); uint64_t w=written; g_mutex_unlock(&mx); if(w!=durable){ fdatasync(fd); durable=w; if(st.progressed) st.progressed(st.context);} } return NULL;}
char *journal_open(const JournalStart *s){ st=*s; memcpy(id,s->history,40); offset=written=durable=s->offset; db=s->db; mkdir("journal",0700); pend=g_byte_array_new(); char path[64]="journal/00000000000000000000.ckj"; fd=open(path,O_RDWR|O_CREAT|O_CLOEXEC|O_APPEND,0600); struct stat b; fstat(fd,&b); if(b.st_size==0){ char h[64]; memset(h,0,64); memcpy(h,"CKVJ",4); uint32_t one=1; memcpy(h+4,&one,4); memcpy(h+8,&offset,8); memcpy(h+16,id,40); uint64_t x=XXH3_64bits(h,56); memcpy(h+56,&x,8); if(write(fd,h,64)!=64) return g_strdup("stub"); } is_open=true; stop=0; thread=g_thread_new("s",syncer,NULL); return NULL; }
bool journal_close(void){ bool ok=journal_commit(); stop=1; g_thread_join(thread); fdatasync(fd); durable=written; close(fd); is_open=false; g_byte_array_unref(pend); pend=NULL; return ok; }
bool journal_is_open(void){return is_open;}
void journal_set_sync(JournalSync s){st.sync=s;}
static void put(const char*b,size_t n){g_byte_array_append(pend,(const guint8*)b,(guint)n); offset+=n;}
static void head(char t,size_t v){char x[32]; int n=snprintf(x,32,"%c%zu\r\n",t,v); put(x,(size_t)n);}
static void cmd(const Slice*a,int c){head('*',(size_t)c); for(int i=0;i<c;i++){head('$',a[i].len); put(a[i].ptr,a[i].len); put("\r\n",2);}}
void journal_append(int d,const Slice*a,int c){ if(d>=0&&d!=db){char x[32]; int n=snprintf(x,32,"%d",d); Slice s[2]={SLICE("SELECT"),{x,(size_t)n}}; cmd(s,2); db=d;} cmd(a,c);}
const char *journal_trouble(void){ return access("TROUBLE",F_OK)==0?"journal/x.ckj: No space left on device":NULL; }
bool journal_commit(void){ if(pend->len==0) return true; if(journal_trouble()) return false; char h[32]; memcpy(h,"CKVB",4); uint32_t n=pend->len; memcpy(h+4,&n,4); memcpy(h+8,&written,8); memcpy(h+16,&clock_unix_ms,8); uint64_t x=0; memcpy(h+24,&x,8); g_byte_array_prepend(pend,(guint8*)h,32); if(write(fd,pend->data,pend->len)!=pend->len) return false; g_mutex_lock(&mx); written=offset; g_mutex_unlock(&mx); batchn++; g_byte_array_set_size(pend,0); return true;}
uint64_t journal_offset(void){return offset;} uint64_t journal_written(void){return written;} uint64_t journal_durable(void){return durable;}
int journal_db(void){return db;} size_t journal_pending_bytes(void){return pend->len;} uint64_t journal_batch(void){return batchn;}
bool journal_reserve(size_t b){(void)b; return journal_trouble()==NULL;}
bool journal_wait_durable(void){ if(written!=offset) return false; fdatasync(fd); durable=written; return true;}
bool journal_rotate(void){return true;} void journal_release(uint64_t o){(void)o;}
JournalStats journal_stats(void){return (JournalStats){0};}
struct JournalReader{char*data;gsize len,at;uint64_t off;};
JournalReader *journal_reader_new(const char*d,uint64_t from,const char*h,char**e){(void)h;(void)e; JournalReader*r=g_new0(JournalReader,1); g_autofree char*p=g_strdup_printf("%s/journal/00000000000000000000.ckj",d); if(g_file_get_contents(p,&r->data,&r->len,NULL)) r->at=64; while(r->at<r->len){uint64_t o; memcpy(&o,r->data+r->at+8,8); if(o>=from) break; uint32_t n; memcpy(&n,r->data+r->at+4,4); r->at+=32+n;} return r;}
void journal_reader_free(JournalReader*r){g_free(r->data);g_free(r);}
JournalRead journal_read(JournalReader*r,JournalBatch*b){ if(r->at>=r->len) return JOURNAL_END; uint32_t n; memcpy(&n,r->data+r->at+4,4); memcpy(&b->offset,r->data+r->at+8,8); b->payload=(Slice){r->data+r->at+32,n}; b->file="journal/00000000000000000000.ckj"; b->file_offset=r->at; r->at+=32+n; r->off=b->offset+n; return JOURNAL_BATCH;}
const char*journal_reader_error(const JournalReader*r){(void)r;return "";} uint64_t journal_reader_torn_bytes(const JournalReader*r){(void)r;return 0;}
uint64_t journal_reader_offset(const JournalReader*r){return r->off;} uint64_t journal_reader_left(const JournalReader*r){return r->len-r->at;}
char*journal_cut(const char*d,uint64_t o){(void)d;(void)o;return NULL;}
GArray*journal_segments(const char*d,char**e){(void)e; GArray*a=g_array_new(0,0,sizeof(JournalSegment)); JournalSegment s={.offset=0}; g_snprintf(s.path,sizeof(s.path),"%s/journal/00000000000000000000.ckj",d); if(access(s.path,F_OK)==0) g_array_append_val(a,s); return a;}
