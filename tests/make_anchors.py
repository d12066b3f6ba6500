"""In _proc: links to names that are not in the reference arrive at the cell that makes them. nbdev writes such links and gives such names no
heading, so their cell gets its first name as its label; a link to another name of the cell leads there too."""
import ast, json, re
from pathlib import Path

from nbdev.config import get_config

cfg,pages,cell_of = get_config(),{},{}
home = cfg.doc_host+cfg.doc_baseurl+'/'

def headings(nb):
    "What nbdev documents on a page"
    said = (''.join(o['data'].get('text/markdown', '')) for c in nb['cells'] for o in c.get('outputs', []) if 'data' in o)
    return {h for text in said for h in re.findall(r'^### (\S+)$', text, re.M)}

def label(cell, taken):
    "A cell's names, if it makes any that have no place yet; the first becomes its label"
    code = ''.join(cell['source'])
    if cell['cell_type'] != 'code' or cell['outputs'] or '#| label:' in code or not re.search(r'^(def|class) ', code, re.M): return
    made = [n.name for n in ast.parse(code).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    made = [n for n in made if n[0] != '_' and n not in taken]
    if made: cell['source'] = [f'#| label: {made[0].lower()}\n']+cell['source']
    return made

for path in Path('_proc').rglob('*.ipynb'):
    pages[path] = nb = json.loads(path.read_text())
    taken,html = headings(nb),path.parent.relative_to('_proc')/re.search(r'output-file: (\S+)', ''.join(nb['cells'][0]['source']))[1]
    for cell in nb['cells']:
        made = label(cell, taken) or []
        taken |= set(made)
        cell_of |= {f'{home}{html.as_posix()}#{n.lower()}': f'{home}{html.as_posix()}#{made[0].lower()}' for n in made}

for path,nb in pages.items():
    text = json.dumps(nb, indent=1, ensure_ascii=False)
    path.write_text(re.sub(re.escape(home)+r'[\w./]+#\w+(?=\))', lambda m: cell_of.get(m[0], m[0]), text)+'\n')
