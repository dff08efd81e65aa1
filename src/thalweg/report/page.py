"""The look of the report's page and the few lines of script that sort and filter its table."""

STYLE = """
:root{color-scheme:light dark;
--paper:#fcfcfa;--card:#fff;--ink:#1c2024;--soft:#555d66;--line:#dfe2e0;--grid:#eceeec;
--accent:#0b5f8a;--accent-soft:#4f93b5;--second:#b3541e;--faint:#b4bab8;--bad:#b3261e;
--arm0:#0b5f8a;--arm1:#b3541e;--arm2:#2f7d4f;--arm3:#8a3f8f;--arm4:#8a6d00;--arm5:#5b6670;
--basin:#0b5f8a1c;--yes:#1d6b41;--yes-bg:#e3f2e8;--tie:#35577d;--tie-bg:#e6edf6;--no:#7a5200;
--no-bg:#faf0d9;--dots:.5}
@media (prefers-color-scheme:dark){:root{
--paper:#14171a;--card:#1b1f23;--ink:#e6e8ea;--soft:#a3abb3;--line:#33393f;--grid:#262b30;
--accent:#6cbbe6;--accent-soft:#4684a6;--second:#e79b65;--faint:#555d64;--bad:#f08a80;
--arm0:#6cbbe6;--arm1:#e79b65;--arm2:#7fcf9d;--arm3:#d59bdc;--arm4:#d9bd5a;--arm5:#aab4bd;
--basin:#6cbbe626;--yes:#86d3a5;--yes-bg:#173424;--tie:#a5c5ea;--tie-bg:#1d2c3f;--no:#ecc56f;
--no-bg:#372b12;--dots:.8}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
main,header.top,footer{max-width:1128px;margin:0 auto;padding:0 24px}
a{color:var(--accent)}a:focus-visible,button:focus-visible,input:focus-visible,
summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-999px}.skip:focus{left:8px;top:8px;background:var(--card);padding:8px}
header.top{padding-top:44px}
header.top .kicker{color:var(--soft);font-size:14px;margin:0 0 4px}
h1{font-size:31px;line-height:1.2;margin:0 0 6px;font-weight:650;letter-spacing:-.01em;
overflow-wrap:anywhere}
h2{font-size:22px;margin:56px 0 4px;font-weight:650;letter-spacing:-.005em}
h3{font-size:16.5px;margin:0;font-weight:650}
.lead{color:var(--soft);margin:0 0 20px;max-width:70ch}
p{max-width:72ch}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:0 28px;
border-top:1px solid var(--line);margin:24px 0 0;padding:16px 0 0}
.facts div{padding:2px 0 12px}.facts dt{color:var(--soft);font-size:13px}
.facts dd{margin:0;font-size:19px;font-weight:600;overflow-wrap:anywhere}
.facts dd small{display:block;font-size:13px;color:var(--soft);font-weight:400}
nav{border-top:1px solid var(--line);border-bottom:1px solid var(--line);padding:9px 0;
font-size:14px;margin-top:6px}
nav a{margin-right:20px;text-decoration:none;white-space:nowrap}
nav a:hover{text-decoration:underline}
.answers{list-style:none;margin:14px 0 0;padding:0}
.answers>li{border-top:1px solid var(--line);padding:18px 0 16px;display:grid;
grid-template-columns:minmax(0,1fr) 190px;gap:4px 32px}
.answers .head{display:flex;gap:12px;align-items:baseline;flex-wrap:wrap}
.badge{font-size:12.5px;font-weight:600;border-radius:99px;padding:1px 10px;white-space:nowrap}
.badge.supported{color:var(--yes);background:var(--yes-bg)}
.badge.tie{color:var(--tie);background:var(--tie-bg)}
.badge.not-enough{color:var(--no);background:var(--no-bg)}
.answers p{margin:5px 0 0;text-wrap:pretty}.answers .advice{font-weight:550}
.answers .advice::before{content:"→ ";color:var(--accent)}
.answers .glyph{width:180px;margin-top:8px}
.answers details{grid-column:1/-1;font-size:13px;color:var(--soft)}
summary{cursor:pointer}details p{overflow-wrap:anywhere;max-width:none}
figure{margin:34px 0 0}figure h3{margin-bottom:2px}
figcaption{color:var(--soft);font-size:14px;max-width:78ch;margin-bottom:12px}
svg{display:block;width:100%;height:auto;overflow:visible}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:20px 24px}
.panels.wide{grid-template-columns:repeat(auto-fill,minmax(340px,1fr))}
.panels.pair{grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr))}
.grid{stroke:var(--grid);fill:none}.axis{stroke:var(--line);fill:none}
.tick{font-size:11.5px;fill:var(--soft)}.tick.strong{fill:var(--ink);font-weight:650}
.label{font-size:12px;fill:var(--soft)}.panel{font-size:13px;font-weight:650;fill:var(--ink)}
.name{font-size:12px;font-weight:600}.name.first{fill:var(--accent)}.name.second{fill:var(--second)}
.halo{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
.curve{fill:none;stroke-width:1.4;stroke-linejoin:round}
.curve.faint{stroke:var(--faint);stroke-width:.7;opacity:.42}
.curve.good{stroke:var(--accent-soft);opacity:.85}.curve.good:hover{stroke-width:3;opacity:1}
.curve.first{stroke:var(--accent);stroke-width:2.4}.curve.second{stroke:var(--second);stroke-width:2}
.line{fill:none;stroke-width:1.6}.curve.arm{stroke-width:2}.curve.arm:hover{stroke-width:3.4}
.arm0{stroke:var(--arm0)}.arm1{stroke:var(--arm1)}.arm2{stroke:var(--arm2)}
.arm3{stroke:var(--arm3)}.arm4{stroke:var(--arm4)}.arm5{stroke:var(--arm5)}
.key i.arm0{border-color:var(--arm0)}.key i.arm1{border-color:var(--arm1)}
.key i.arm2{border-color:var(--arm2)}.key i.arm3{border-color:var(--arm3)}
.key i.arm4{border-color:var(--arm4)}.key i.arm5{border-color:var(--arm5)}
.curve.context{stroke:var(--soft);opacity:.8}.curve.truth{stroke:var(--ink);stroke-width:1.6}
.curve.naive{stroke:var(--second);stroke-dasharray:3 3}
.key{display:flex;flex-wrap:wrap;gap:2px 22px;margin:0 0 8px;font-size:13px;color:var(--soft)}
.key i{display:inline-block;width:22px;border-top:2.4px solid var(--accent);margin-right:7px;
vertical-align:middle}.key .context{border-color:var(--soft);border-width:1.5px}
.key .truth{border-color:var(--ink);border-width:1.8px}
.key .naive{border-color:var(--second);border-top-style:dashed;border-width:1.5px}
.dots{fill:none;stroke-linecap:round;stroke-width:4.4;stroke:var(--accent-soft);opacity:var(--dots)}
.point{fill:var(--accent-soft);fill-opacity:.7}.point:hover{fill-opacity:1;stroke:var(--ink)}
.point.first{fill:var(--accent);fill-opacity:1}.point.soft{fill-opacity:.55}
.point.plain{fill:var(--soft)}.failed{stroke:var(--bad);stroke-width:1.3;fill:none}
.basin{fill:var(--basin)}.edge{stroke:var(--bad);stroke-width:1.4;fill:none}
.mark{stroke:var(--soft);stroke-dasharray:3 3;fill:none}.diagonal{stroke:var(--faint);
stroke-dasharray:4 3;fill:none}
.mean{stroke-width:2.4;stroke:var(--accent-soft)}.mean.first{stroke:var(--accent)}
.whisker{stroke-width:2.2;stroke:var(--accent-soft);opacity:.75}
.bar{fill:var(--accent-soft)}.bar.against{fill:var(--second)}
.whisker.first{stroke:var(--accent)}.whisker.plain{stroke:var(--soft)}
.zero{stroke:var(--soft);stroke-width:1}
.tools{display:flex;gap:14px;align-items:center;flex-wrap:wrap;margin:6px 0 10px;font-size:14px}
.tools input{font:inherit;padding:5px 10px;border:1px solid var(--line);border-radius:6px;
background:var(--card);color:var(--ink);width:min(320px,100%)}
.tools button{font:inherit;padding:5px 12px;border:1px solid var(--line);border-radius:6px;
background:var(--card);color:var(--accent);cursor:pointer}
img.picture{display:block;max-width:max(100%,620px);height:auto;background:#fff;
border:1px solid var(--line);border-radius:6px}
.scroll{overflow-x:auto}figure .scroll>svg{min-width:400px}
table{border-collapse:collapse;font-size:13.5px;width:100%}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--grid);
vertical-align:baseline}
td.n,th.n{text-align:right;white-space:nowrap}thead th{border-bottom:1px solid var(--line);
color:var(--soft);font-weight:600;font-size:13px;white-space:nowrap}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--accent)}
th[aria-sort=ascending] button::after{content:" ↑"}
th[aria-sort=descending] button::after{content:" ↓"}
tr.winner td{font-weight:650}tr.baseline td{color:var(--soft);font-style:italic}
table.folded tr.more{display:none}
td.structure{white-space:nowrap}
table.confusion{width:auto;font-size:13px}
table.confusion td,table.confusion th{text-align:center;padding:5px 7px;
border:1px solid var(--paper);min-width:38px}
table.confusion th[scope=row]{text-align:right}
table.confusion .corner{color:var(--soft);font-size:12px;white-space:nowrap}
table.confusion td.hit{background:color-mix(in srgb,var(--accent) var(--share),transparent)}
table.confusion td.miss{background:color-mix(in srgb,var(--bad) var(--share),transparent)}
table.confusion td.deep{color:var(--paper);font-weight:600}
table.facts-table{width:auto}table.facts-table td:first-child{color:var(--soft);padding-right:26px}
table.alignment{width:auto;font-size:12px}table.alignment td,table.alignment th{padding:2px 4px;
border:1px solid var(--grid);color:var(--ink);font-weight:400}
table.alignment tbody td{background:color-mix(in srgb,var(--accent) var(--share),transparent);
min-width:1.3em}table.alignment th[scope=row]{text-align:right}table.texts td{min-width:160px}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:12px 14px;
overflow-x:auto;font-size:13.5px}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:8px 48px}
.notices{padding-left:18px}
footer{color:var(--soft);font-size:13px;padding-top:40px;padding-bottom:48px}
@media (max-width:680px){.answers>li{grid-template-columns:1fr}h1{font-size:26px}}
@media print{:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;
--grid:#e8e8e8;--accent:#0b5f8a;--accent-soft:#4f93b5;--second:#b3541e;--faint:#aaa;--bad:#b3261e;
--arm0:#0b5f8a;--arm1:#b3541e;--arm2:#2f7d4f;--arm3:#8a3f8f;--arm4:#8a6d00;--arm5:#5b6670;
--yes:#1d6b41;--yes-bg:#e3f2e8;--tie:#35577d;--tie-bg:#e6edf6;--no:#7a5200;--no-bg:#faf0d9}
body{font-size:12px}nav,.tools,.skip{display:none}figure,.answers>li,tr{break-inside:avoid}
h2{break-after:avoid}}
"""

SCRIPT = """
'use strict';
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0], rows = [...body.rows];
  const box = document.getElementById(table.dataset.filter);
  const more = document.getElementById(table.dataset.more);
  const count = document.getElementById(table.dataset.count);
  const hidden = rows.some(row => row.classList.contains('more'));
  box.closest('.tools').hidden = false;
  more.hidden = !hidden;
  table.classList.toggle('folded', hidden);
  more.addEventListener('click', () => {
    const folded = table.classList.toggle('folded');
    more.textContent = folded ? 'Show all' : 'Show the best only';
    more.setAttribute('aria-expanded', String(!folded));
  });
  box.addEventListener('input', () => {
    const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every(word => text.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    if (words.length) table.classList.remove('folded');
    else if (hidden && more.ariaExpanded === 'false') table.classList.add('folded');
    count.textContent = words.length ? shown + ' of ' + rows.length + ' rows' : '';
  });
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') !== 'ascending';
      for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const value = row => row.cells[place].dataset.value ?? row.cells[place].textContent;
      const numeric = head.classList.contains('n');
      rows.sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === '' || y === '') return (x === '') - (y === '');
        const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}
"""
