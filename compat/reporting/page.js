// Sorts a table by the column whose head is clicked, and filters the tables of a section by their first column.
for (const head of document.querySelectorAll('th')) {
  head.tabIndex = 0;
  head.onclick = () => {
    const body = head.closest('table').tBodies[0], column = head.cellIndex;
    const numeric = head.classList.contains('number'), up = head.getAttribute('aria-sort') === 'ascending';
    const value = row => {
      const text = row.cells[column].textContent;
      return numeric ? parseFloat(text.replace(/,(?=\d)/g, '')) || 0 : text.toLowerCase();
    };
    const rows = [...body.rows].sort((a, b) => (value(a) > value(b)) - (value(a) < value(b)));
    body.append(...(up ? rows.reverse() : rows));
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', up ? 'descending' : 'ascending');
  };
  head.onkeydown = event => { if (event.key === 'Enter') head.click(); };
}
for (const box of document.querySelectorAll('.filter')) {
  box.hidden = false;
  box.firstChild.oninput = event => {
    const wanted = event.target.value.toLowerCase();
    for (const part of box.parentNode.querySelectorAll('.scroll')) {
      let any = false;
      for (const row of part.querySelectorAll('tbody tr')) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        any = any || !row.hidden;
      }
      part.hidden = part.previousElementSibling.hidden = !any;
    }
  };
}
