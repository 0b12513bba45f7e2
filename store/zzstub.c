#include "store/manifest.h"
#include "store/io.h"
#include "base/random.h"
#include <fcntl.h>
#include <errno.h>
#include <unistd.h>
#include <sys/stat.h>
#include <string.h>
const char *const checkpoint_file_name[2]={"checkpoint-a.gdbm","checkpoint-b.gdbm"};
void manifest_init(Manifest*m){memset(m,0,sizeof *m);random_hex(m->history,40);random_hex(m->instance,40);random_secret(m->secret,192);}
void manifest_clear(Manifest*m){(void)m;}
ManifestRead manifest_read(const char*d,Manifest*m,char**e){(void)d;(void)e;char*c;gsize l;if(!g_file_get_contents("MANIFEST",&c,&l,0))return MANIFEST_MISSING;memcpy(m,c,l);g_free(c);return MANIFEST_READ;}
char*manifest_write(const char*d,const Manifest*m){(void)d;g_file_set_contents("MANIFEST",(const char*)m,sizeof *m,0);return 0;}
GBytes*checkpoint_info_encode(const CheckpointInfo*i,const uint8_t*s){(void)s;return g_bytes_new(i,sizeof *i);}
bool checkpoint_info_decode(const void*b,size_t l,CheckpointInfo*i,uint8_t*s){(void)s;memcpy(i,b,l);return true;}
int manifest_newest(const Manifest*m){int n=-1;for(int f=0;f<2;f++)if(m->checkpoint[f].whole&&(n<0||m->checkpoint[f].offset>m->checkpoint[n].offset))n=f;return n;}
static int o(const char*p,int f,mode_t m){return open(p,f,m);}
const Io io_kernel={.open=o,.close=close,.read=pread,.write=pwrite,.sync=fdatasync,.unlink=unlink};
const Io*io=&io_kernel;
bool io_read_all(int fd,void*t,size_t l,off_t a){return pread(fd,t,l,a)==(ssize_t)l;}
bool io_write_all(int fd,const void*t,size_t l,off_t a){return pwrite(fd,t,l,a)==(ssize_t)l;}
bool io_sync_directory(const char*p){(void)p;return true;}
#include "store/backup.h"
bool backup_finish_swap(const char *d,char**e){(void)d;(void)e;return true;}
int64_t backup_oldest_ms(const char*d,uint64_t f){(void)d;(void)f;return -1;}
