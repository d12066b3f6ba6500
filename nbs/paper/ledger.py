"""What the ledger promises, checked: `faults` says in a sentence each what is wrong with ledger.json, the notebooks it names, or the page.

ledger.ipynb shows the table, tests/test_ledger.py fails where there is a fault. Notebooks are read here and not run."""
import ast, importlib, json, posixpath, re
from pathlib import Path

NBS = Path(__file__).parent.parent
ENTRIES = [f'eq-{i}' for i in range(1, 21)] + [f'table-{i}' for i in (1,2,3,4,5,'A1','A2','A3')] + [f'fig-{i}' for i in range(1, 11)]
LABEL = re.compile(r'check-((?:eq|table|fig)-A?\d+)(?:-[b-z])?') # of a check cell: its entry, and a letter from the second cell on
NUMBERED = re.compile(r'check[-_]?(eq|tab|fig)', re.I) # what a label begins with that means to name one; others, such as check-mask-like, are checks of our own
LATER = ast.FunctionDef, ast.ClassDef, ast.Lambda # what stands in them does not run with the cell

def read_ledger():
    "The entries, as ledger.json has them."
    return json.loads((NBS/'paper/ledger.json').read_text())

def read_books():
    "The cells of every notebook, by its path under nbs/."
    paths = (p.relative_to(NBS) for p in sorted(NBS.rglob('*.ipynb')))
    return {p.as_posix(): json.loads((NBS/p).read_text())['cells'] for p in paths if not any(part[0] in '._' for part in p.parts)}

def source(cell): return ''.join(cell['source'])

def directives(cell):
    "The lines `#| key: value` of a code cell."
    return dict(re.findall(r'^#\| *([\w-]+):? *(.*)$', source(cell), re.M)) if cell['cell_type'] == 'code' else {}

def labelled(cells):
    "Label and cell, for each code cell that has one."
    return [(d['label'], c) for c in cells if 'label' in (d := directives(c))]

def asserts(code):
    "Does this code compare anything when it runs? `assert` and `test_...` count, but not on constants alone, and not inside of functions."
    def _compares(node):
        if isinstance(node, LATER): return False
        called = getattr(node, 'func', None)
        is_test = isinstance(node, ast.Call) and getattr(called, 'id', getattr(called, 'attr', '')).startswith('test_')
        tested = [node.test] if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Tuple) else node.args if is_test else []
        return any(isinstance(n, ast.Name) for t in tested for n in ast.walk(t)) or any(map(_compares, ast.iter_child_nodes(node)))
    return _compares(ast.parse(re.sub(r'^\s*[!%].*$', '', code, flags=re.M)))

def slug(heading):
    "The anchor that Pandoc gives a heading."
    if given := re.search(r'\{#([\w-]+)\}\s*$', heading): return given[1]
    text = re.sub(r'[^\w\s.-]', '', re.sub(r'\]\([^)]*\)', '', heading))
    return re.sub(r'^[\W\d_]+', '', '-'.join(text.lower().split())) or 'section'

def anchors(cells):
    "Where a link into a notebook can arrive: its headings, its equations, and its labels where the cell is shown, in small letters as Quarto writes both."
    prose = '\n'.join(re.sub(r'```.*?```', '', source(c), flags=re.S) for c in cells if c['cell_type'] == 'markdown')
    return {slug(h) for h in re.findall(r'^##+ +(.*)$', prose, re.M)} | set(re.findall(r'<a id="([\w-]+)">', prose)) | {l.lower() for l,c in labelled(cells) if 'hide' not in directives(c)}

def address(link):
    "A link as the site has it, with its anchor in small letters: the label check-table-A1 becomes the place check-table-a1."
    path,hash,anchor = link.partition('#')
    return path+hash+anchor.lower()

def resolve(link):
    "A link of the ledger as (notebook or file under nbs/, anchor)."
    path,_,anchor = link.partition('#')
    return posixpath.normpath(posixpath.join('paper', path or 'ledger.ipynb')),anchor

def arrives(link, places):
    "Is there such a file, and such a place in it? `places`: the anchors of each notebook."
    path,anchor = resolve(link)
    return (not anchor or anchor in places[path]) if path in places else (NBS/path).is_file() and not anchor

def imports(name):
    "Is there such a name in the library? As in `mpga.MPGA.attend`, or `others.gated.GatedConv`."
    module,*parts = name.split('.')
    thing = importlib.import_module(f'gla_inpaint.{module}')
    try:
        for p in parts:
            if hasattr(thing, '__path__'): importlib.import_module(f'{thing.__name__}.{p}')
            thing = getattr(thing, p)
    except (AttributeError, ModuleNotFoundError): return False
    return True

def check_faults(link, books):
    "What is wrong with one check cell."
    path,label = resolve(link)
    cell = dict(labelled(books.get(path, []))).get(label)
    if cell is None: return [f'{link}: no cell has this label']
    return [] if asserts(source(cell)) else [f'{link}: the cell asserts nothing']

def entry_faults(e, books, places):
    "What is wrong with one entry: its cells, links, names."
    links = e.get('where', []) + e.get('checks', [])
    code = '\n'.join(source(c) for path in {resolve(l)[0] for l in links} for c in books.get(path, []) if c['cell_type'] == 'code')
    wrong = [f for link in e.get('checks', []) for f in check_faults(link, books)]
    wrong += [] if e.get('checks') else ['no cell checks it']
    wrong += [] if e.get('where') else ['it lives nowhere']
    wrong += [f'{l}: the link is dead' for l in links if not arrives(address(l), places)]
    wrong += [f'gla_inpaint.{n} does not import' for n in e['code'] if not imports(n)]
    wrong += [f'no code of its notebooks says {n}' for n in ' '.join(e.get('symbols', {}).values()).split() if not re.search(rf'\b{n}\b', code)]
    return [f"{e['entry']}: {w}" for w in wrong]

def label_faults(ledger, books):
    "Labels of check cells that the ledger does not have or cannot tell apart, and checks of our own that assert nothing."
    listed = {(e['entry'], *resolve(c)) for e in ledger for c in e.get('checks', [])}
    for path,cells in books.items():
        names = [l for l,_ in labelled(cells) if l.startswith('check')]
        for l in sorted(set(names)):
            entry = LABEL.fullmatch(l)
            if not entry and NUMBERED.match(l): yield f'{path}: {l} names no entry; a label is such as check-eq-3, check-table-A1-b'
            if entry and (entry[1], path, l) not in listed: yield f'{path}: {l} is not in the ledger under {entry[1]}'
            if not entry and not asserts(source(dict(labelled(cells))[l])): yield f'{path}: {l} asserts nothing'
            if names.count(l) > 1: yield f'{path}: {l} labels {names.count(l)} cells'

def page_links(cells):
    "All links of the page that stay in the project: prose, and what the cells have put out."
    shown = [source(c) for c in cells if c['cell_type'] == 'markdown']
    shown += [''.join(o['data']['text/markdown']) for c in cells for o in c.get('outputs', []) if 'text/markdown' in o.get('data', {})]
    return {l for text in shown for l in re.findall(r'\]\(([^)\s]+)\)', text) if '://' not in l}

def page_faults(ledger, books, places):
    "Dead links on the page, and links of the ledger that it does not show."
    shown = page_links(books['paper/ledger.ipynb'])
    yield from (f'ledger.ipynb: the link {l} is dead' for l in sorted(shown) if not arrives(l, places))
    stale = {address(l) for e in ledger for l in e.get('where', []) + e.get('checks', [])} - shown
    yield from (f'ledger.ipynb does not show {l}: run it again' for l in sorted(stale))

def faults(ledger, books):
    "All that is wrong, a sentence each."
    places,have = {p: anchors(c) for p,c in books.items()},[e['entry'] for e in ledger]
    wrong = [f'{n} stands {have.count(n)} times in the ledger' for n in ENTRIES if have.count(n) != 1]
    wrong += [f'{n} is nothing that the paper numbers' for n in have if n not in ENTRIES]
    wrong += [f for e in ledger for f in entry_faults(e, books, places)]
    return wrong + [*label_faults(ledger, books), *page_faults(ledger, books, places)]
