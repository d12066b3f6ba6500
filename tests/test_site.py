"The site: what leads somewhere arrives, what is shown can be read, and nbdev makes its pages without a warning."
import ast, base64, json, os, re, shutil, statistics, subprocess, sys
from configparser import ConfigParser
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest, yaml
from PIL import Image

from board import CHROMIUM, browser

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'nbs/paper'))
from ledger import directives as options, slug, source

DRAWS = re.compile(r'\b(plt\.show|\.imshow|\.plot|show_\w+|plot_\w+)\(')
LINK = re.compile(r'!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)|(?:src|href)="([^"]+)"')


CLEAN = {k: v for k,v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'VIRTUAL_ENV')} # as in a new shell, not below `make test`


# ---- what is read

def notebooks(root): return sorted(p for p in (root/'nbs').rglob('*.ipynb') if not any(s[0] in '._' for s in p.relative_to(root).parts))

def cells(path): return json.loads(path.read_text())['cells']

def exported(cell): return cell['cell_type'] == 'code' and bool(options(cell).keys() & {'export', 'exports', 'exporti'})

def internal(cell): return 'exporti' in options(cell)

def shown(cell, kind): return [''.join(data) for o in cell.get('outputs', []) for mime,data in o.get('data', {}).items() if mime.startswith(kind)]

def definitions(cell): return [n for n in ast.parse(source(cell)).body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]

def draws(cell):
    "Does it draw when it runs? What stands in functions does not count."
    body = ast.parse(re.sub(r'^([ \t]*)[!%].*$', r'\1pass', source(cell), flags=re.M)).body
    return any(DRAWS.search(ast.unparse(n)) for n in body if not isinstance(n, (ast.FunctionDef, ast.ClassDef)))

def name(root, path): return path.relative_to(root/'nbs').as_posix()


def prose(path):
    "The Markdown of a page, its code taken out."
    parts = [t for c in cells(path) for t in ([source(c)] if c['cell_type'] == 'markdown' else shown(c, 'text/markdown'))] if path.suffix == '.ipynb' else [path.read_text()]
    return re.sub(r'^(```+|~~~+).*?^\1\s*$', '', '\n\n'.join(parts), flags=re.M | re.S)


def anchors(path):
    "Where a link into a page can point: headings, labels, public names, the first of a cell of internal ones; in small letters, as Quarto writes them."
    text = prose(path)
    found = {slug(h) for h in re.findall(r'^#+\s+(.*?)\s*(?:\{[^}]*\})?\s*$', text, re.M)} | set(re.findall(r'(?:\{#|<a id=")([\w-]+)', text))
    for c in cells(path) if path.suffix == '.ipynb' else ():
        if c['cell_type'] == 'code': found |= {options(c).get('label', '').lower()}
        if exported(c): found |= {n.name.lower() for n in definitions(c) if n.name[0] != '_'}-({n.name.lower() for n in definitions(c)[1:]} if internal(c) else set())
    return found


def sidebar(root):
    "The pages in the order of the sidebar."
    def _flat(entries): return [p for e in entries for p in ([e] if isinstance(e, str) else _flat(e['contents']))]
    return _flat(yaml.safe_load((root/'_quarto.yml').read_text())['website']['sidebar']['contents'])


# ---- what can be wrong with it: each yields one line for each fault

def dead_links(root):
    for page in [*notebooks(root), *root.glob('*.md')]:
        for target in (m[1] or m[2] for m in LINK.finditer(re.sub(r'`[^`\n]*`', '', prose(page)))):
            if re.match(r'\w+:', target): continue
            where,_,at = target.partition('#')
            there = page.parent/where if where else page
            if not there.exists(): yield f'{page.relative_to(root)}: {target} does not exist'
            elif at and there.suffix in ('.ipynb', '.md') and at not in anchors(there): yield f'{page.relative_to(root)}: {target} has no such place'


def missing_pages(root):
    listed,there = sidebar(root),[name(root, p) for p in notebooks(root)]
    yield from (f'{p} is in the sidebar and does not exist' for p in listed if not (root/'nbs'/p).exists())
    yield from (f'{p} is not in the sidebar' for p in there if p not in listed)
    yield from (f'{p} is in the sidebar twice' for p in set(listed) if listed.count(p) > 1)
    site = yaml.safe_load((root/'_quarto.yml').read_text())['website']
    yield from (f'the picture of {k} does not exist' for k in ('open-graph', 'twitter-card') if not (root/'nbs'/site[k]['image']).is_file())


def lost_readers(root):
    "The path: each page says what for, what with and how long, and leads to the next of the sidebar."
    order = sidebar(root)
    for page,following in zip(order, [*order[1:], order[0]]):
        at = root/'nbs'/page
        seen = [c for c in cells(at) if 'hide' not in options(c)][:6]
        opening = ' '.join(' '.join(source(c) for c in seen if c['cell_type'] == 'markdown').split())
        wanted = {r'After this (notebook|page)': 'what one can do after it', r'\bneeds?\b|[Ff]ollows': 'what it needs', r'\b(seconds|minutes?)\b': 'how long it runs'}
        yield from (f'{page} does not say {what}' for pattern,what in wanted.items() if page != 'index.ipynb' and not re.search(pattern, opening))
        first,rest = source(cells(at)[0]).split('\n', 1)
        if not re.fullmatch(r'# \S.*', first) or not re.fullmatch(r'\s*> \S[^\n]*\s*', rest): yield f'{page}: the site drops what stands in the first cell below title and description'
        last = LINK.findall(source(cells(at)[-1]).strip().split('\n\n')[-1])
        if not last or (at.parent/last[0][0]).resolve() != (root/'nbs'/following).resolve(): yield f'{page} does not end with a link to {following}'


def install_cells(root):
    "In Colab the package comes from the repository that settings.ini names."
    ini = ConfigParser(); ini.read(root/'settings.ini')
    url = ini['DEFAULT']['git_url']
    for page in notebooks(root):
        code = [c for c in cells(page) if c['cell_type'] == 'code']
        installs = [i for i,c in enumerate(code) if 'google.colab' in source(c) and '%pip install' in source(c) and url in source(c)]
        uses = [i for i,c in enumerate(code) if re.search(r'^\s*(from|import) gla_inpaint', source(c), re.M)]
        if not installs or min(uses, default=99) < installs[0]: yield f'{name(root, page)} does not install the package in Colab before it is used'
        elif not options(code[installs[0]]).keys() & {'hide', 'default_exp'}: yield f'{name(root, page)} shows how it is installed'


def poor_figures(root):
    for page in notebooks(root):
        for c in cells(page):
            at,figures = f"{name(root, page)} {c['id']}",shown(c, 'image/png')+shown(c, 'image/jpeg')
            if c['cell_type'] == 'markdown':
                if re.search(r'!\[\s*\]\(', source(c)): yield f'{at}: a picture without alternative text'
            elif figures and len(options(c).get('fig-alt', '')) < 20: yield f'{at}: a figure without alternative text'
            elif not exported(c) and not figures and options(c).get('eval') != 'false' and not c['outputs'] and draws(c): yield f'{at}: a figure without stored output'
            if any(len(base64.b64decode(f)) > 200*1024 for f in figures): yield f'{at}: a figure of more than 200 KB'


def lengthy(root):
    for page in notebooks(root):
        seen = [c for c in cells(page) if source(c).strip() and not {'hide', 'default_exp'} & options(c).keys()]
        words,code = (sum(len(re.sub(r'^#\|.*\n', '', source(c), flags=re.M)) for c in seen if c['cell_type'] == kind) for kind in ('markdown', 'code'))
        if words < .35*code: yield f'{name(root, page)}: prose is {words/code:.2f} of code, at least 0.35'
        if 'widgets' in json.loads(page.read_text())['metadata']: yield f'{name(root, page)} stores the state of widgets'


def poor_functions(root):
    for page in notebooks(root):
        sizes = []
        for c in filter(exported, cells(page)):
            lines = source(c).splitlines()
            tree = ast.parse(source(c))
            # what stands in a function or in a private class is its own affair
            inner = {g for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.ClassDef)) and (isinstance(f, ast.FunctionDef) or f.name[0] == '_') for g in ast.walk(f) if g is not f}
            for f in ast.walk(tree):
                if not isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) or f in inner: continue
                doc = f.body[0] if ast.get_docstring(f) is not None else None
                # of the signature no more than a line: one parameter on each, with its comment, reads well however many there are
                sizes.append(1 + f.end_lineno-f.body[0].lineno+1 - (doc.end_lineno-doc.lineno+1 if doc else 0))
                if sizes[-1] > 40: yield f'{name(root, page)}: {f.name} has {sizes[-1]} lines, 40 at most'
                if f.name[0] == '_': continue
                if not doc: yield f'{name(root, page)}: {f.name} has no docstring'
                params = [a for a in f.args.posonlyargs+f.args.args+f.args.kwonlyargs if a.arg not in ('self', 'cls')]
                yield from (f'{name(root, page)}: {f.name} does not say what {a.arg} is' for a in params if '#' not in lines[a.end_lineno-1])
        if sizes and statistics.median(sizes) > 10: yield f'{name(root, page)}: the median function has {statistics.median(sizes)} lines, 10 at most'


def long_lines(path, limit=88):
    "What does not fit into the column of the site; a comment to nbdev or Quarto is not shown there"
    for c in cells(path):
        for line in source(c).splitlines() if c['cell_type'] == 'code' else ():
            if len(line) > limit and not line.startswith('#|'): yield f"{c['id']}: {len(line)} characters, {limit} at most: {line[:50]} ..."


CHECKS = (dead_links, missing_pages, lost_readers, install_cells, poor_figures, lengthy, poor_functions)

@pytest.mark.parametrize('check', CHECKS, ids=lambda f: f.__name__)
def test_pages(check):
    faults = list(check(ROOT))
    assert not faults, '\n'.join(faults)


# pages that are older than the limit: as soon as one keeps to it, its name goes from this list
WIDE = """""".split()

@pytest.mark.parametrize('path', [pytest.param(p, id=p.stem, marks=[pytest.mark.xfail(reason='older than the limit')] if p.stem in WIDE else []) for p in notebooks(ROOT)])
def test_code_fits_into_the_column(path):
    faults = list(long_lines(path))
    assert not faults, '\n'.join(faults)


def test_a_long_line_is_found(tmp_path):
    def write(line): (tmp_path/'a.ipynb').write_text(json.dumps(dict(cells=[dict(id='x', cell_type='code', source=line)])))
    for line,n in (('x = '+'1'*84, 0), ('x = '+'1'*85, 1), ('#| fig-alt: '+'a'*100, 0)):
        write(line)
        assert len(list(long_lines(tmp_path/'a.ipynb'))) == n


def test_how_the_site_is_set():
    "Wide enough, light or dark as the reader likes it, no label over every cell, and its addresses those of settings.ini"
    quarto,ini = yaml.safe_load((ROOT/'_quarto.yml').read_text()),ConfigParser()
    ini.read(ROOT/'settings.ini')
    html,navbar = quarto['format']['html'],quarto['website']['navbar']
    assert html['respect-user-color-scheme'] is True and set(html['theme']) == {'light', 'dark'}
    assert not html.keys() & {'code-fold', 'code-tools', 'code-summary'}, 'cells say themselves what is folded'
    assert list(quarto['format']) == ['html'], 'no copies in other formats'
    assert int(html['grid']['body-width'].removesuffix('px')) - 3*17 >= 960, 'Quarto takes 3em off'
    assert [t['href'] for t in navbar['tools'] if t['icon'] == 'github'] == [ini['DEFAULT']['git_url']]
    for file in (html['css'], html['include-after-body']): assert (ROOT/'nbs'/file).is_file()


def test_equations_need_no_other_server():
    "KaTeX is fetched once, by version and checksum, before the pages are made, and lies in the site; not in the repository"
    quarto,make = yaml.safe_load((ROOT/'_quarto.yml').read_text()),(ROOT/'Makefile').read_text()
    assert quarto['format']['html']['html-math-method'] == dict(method='katex', url='/katex/') and 'katex/**' in quarto['project']['resources']
    assert re.search(r'^KATEX := [\d.]+$', make, re.M) and re.search(r'^KATEX_SHA256 := [0-9a-f]{64}$', make, re.M)
    docs = re.search(r'^docs:.*\n((?:\t.*\n)+)', make, re.M)[1]
    assert docs.index('nbs/katex/$(KATEX)') < docs.index('nbdev_docs')
    assert {'nbs/katex/', '.katex/'} <= set((ROOT/'.gitignore').read_text().split())


GROUNDS = dict(light='#ffffff', dark='#222222') # of the themes cosmo and darkly

def contrast(a, b):
    "Of two colours #rrggbb, by the web's guidelines: 1 to 21"
    def _light(colour):
        parts = (int(colour[i:i+2], 16)/255 for i in (1,3,5))
        return sum(w*(c/12.92 if c <= .03928 else ((c+.055)/1.055)**2.4) for w,c in zip((.2126,.7152,.0722), parts))
    low,high = sorted((_light(a), _light(b)))
    return (high+.05)/(low+.05)

def colours(css, selector):
    "What a rule sets: {'color': '#rrggbb', 'background': ...}"
    rule = re.search(rf'^{re.escape(selector)} {{([^}}]*)}}', css, re.M)[1]
    return {k: '#'+(v if len(v) == 6 else ''.join(2*x for x in v)) for k,v in re.findall(r'([\w-]+): #([0-9a-f]+)', rule)}

@pytest.mark.parametrize('theme', GROUNDS)
def test_words_can_be_read(theme):
    css = (ROOT/'nbs/styles.css').read_text()
    of = lambda what: colours(css, f'body.quarto-{theme} main {what}')
    code = of(':not(pre) > code')
    pairs = {'a link': (of('a:not(.btn)')['color'], GROUNDS[theme]), 'code': (code['color'], code['background']), 'linked code': (of('a > code')['color'], code['background'])}
    assert {k: v for k,v in ((k, contrast(*p)) for k,p in pairs.items()) if v < 4.5} == {}

def test_contrast_as_it_is_defined():
    assert contrast('#000000', '#ffffff') == pytest.approx(21) and contrast('#ffffff', '#2780e3') == pytest.approx(3.97, abs=.01)


WIDE_THINGS = dict(
    table='<table><tr>' + '<td>a cell of a table<span style="position: absolute">read out</span></td>'*20 + '</tr></table>',
    equation='<span class="math display"><span class="katex-display"><span style="white-space: nowrap">' + 'x + '*200 + '</span></span></span>',
    symbols='<p>where <span class="math inline"><span class="katex-html">' + '<span style="display: inline-block">x =&nbsp;</span>'*60 + '</span></span></p>',
    code='<p>as in <code>' + 'a_very_long_name.'*12 + '</code></p>', listing='<div class="cell-output"><pre>' + 'output '*80 + '</pre></div>',
    doors='<div class="doors">' + '<div class="door"><p><b>A door</b></p><pre><code>gla_inpaint photo.jpg hole.png -o filled.png</code></pre></div>'*3 + '</div>')

@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM or find_spec('playwright') is None, reason='no browser')
def test_nothing_is_cut_on_a_phone():
    "The page is as wide as the screen: wide things wrap, or scroll alone. Without the rules each of them is wider, but what the browser wraps anyway"
    css = (ROOT/'nbs/styles.css').read_text()
    with browser() as chromium:
        page = chromium.new_page(viewport=dict(width=390, height=800))
        def width(rules, html):
            page.set_content(f'<!doctype html><style>body {{ margin: 8px }} {rules}</style><main>{html}</main>')
            return page.evaluate('document.documentElement.scrollWidth')
        assert {name: width(css, html) for name,html in WIDE_THINGS.items()} == dict.fromkeys(WIDE_THINGS, 390)
        assert all(width('', WIDE_THINGS[name]) > 390 for name in ('table', 'equation', 'code', 'listing'))


def test_figures_bring_their_own_ground():
    "A transparent figure would have black letters on a dark page"
    for page in notebooks(ROOT):
        for c in cells(page):
            for f in shown(c, 'image/png'):
                with Image.open(BytesIO(base64.b64decode(f))) as im: assert im.convert('RGBA').getextrema()[3][0] == 255, (page.name, c['id'])


# ---- the checks can fail

def edit(old, new, page='02_mpga.ipynb'):
    "A change of a notebook's text, once."
    def _edit(root):
        path = root/'nbs'/page
        nb = json.loads(path.read_text())
        cell = next(c for c in nb['cells'] if old in source(c))
        cell['source'] = source(cell).replace(old, new, 1)
        path.write_text(json.dumps(nb))
    return _edit

def change(f, page='02_mpga.ipynb'):
    "A change of a notebook's cells."
    def _change(root):
        path = root/'nbs'/page
        nb = json.loads(path.read_text())
        f(nb)
        path.write_text(json.dumps(nb))
    return _change

def figure(nb): return next(c for c in nb['cells'] if shown(c, 'image/png'))
def mute(nb): figure(nb)['source'] = re.sub(r'^#\| fig-alt.*\n', '', source(figure(nb)), flags=re.M)
def blank(nb): figure(nb)['outputs'] = []
def talk_less(nb): nb['cells'] = [c for c in nb['cells'] if c['cell_type'] == 'code']
def rewrite(path, old, new): return lambda root: (root/path).write_text((root/path).read_text().replace(old, new))

FAULTS = [
    (dead_links, edit('(03_gla.ipynb)', '(03_glow.ipynb)'), '03_glow.ipynb does not exist'),
    (dead_links, edit('(03_gla.ipynb)', '(03_gla.ipynb#nowhere)'), '#nowhere has no such place'),
    (dead_links, rewrite('README.md', 'nbs/images/', 'nbs/pictures/'), 'README.md: nbs/pictures/'),
    (missing_pages, lambda root: (root/'nbs/07_metrics.ipynb').unlink(), '07_metrics.ipynb is in the sidebar and does not exist'),
    (missing_pages, rewrite('_quarto.yml', '- 07_metrics.ipynb', ''), '07_metrics.ipynb is not in the sidebar'),
    (lost_readers, edit('[next: Global and local attention](03_gla.ipynb)', 'That is all.'), 'does not end with a link to 03_gla.ipynb'),
    (lost_readers, edit('After this notebook', 'Later'), 'does not say what one can do after it'),
    (install_cells, edit('%pip install', '%pip list'), 'does not install the package in Colab'),
    (poor_figures, change(mute), 'a figure without alternative text'),
    (poor_figures, change(blank), 'a figure without stored output'),
    (lengthy, change(talk_less), 'prose is 0.00 of code'),
    (poor_functions, edit('prune:str, # the reading of eq. 2', 'prune:str,'), 'check_prune does not say what prune is'),
    (poor_functions, edit('def check_prune(', 'def endless(x): # a lot\n    "Long."\n'+'    x += 1\n'*45+'\ndef check_prune('), 'endless has 46 lines'),
]

@pytest.mark.parametrize('check,harm,says', FAULTS, ids=[f'{c.__name__}-{i}' for i,(c,_,_) in enumerate(FAULTS)])
def test_faults_are_found(check, harm, says, tmp_path):
    shutil.copytree(ROOT/'nbs', tmp_path/'nbs', symlinks=True, ignore=shutil.ignore_patterns('.*', '_*'))
    for p in [*ROOT.glob('*.md'), ROOT/'LICENSE', ROOT/'settings.ini', ROOT/'_quarto.yml']: shutil.copy(p, tmp_path)
    harm(tmp_path)
    assert any(says in fault for fault in check(tmp_path)), list(check(tmp_path))


# ---- the pages as nbdev makes them

def public():
    "The names that each module offers"
    trees = {p.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.'): ast.parse(p.read_text()) for p in sorted((ROOT/'gla_inpaint').rglob('[a-z]*.py'))}
    return {m: next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '') == '__all__') for m,tree in trees.items()}


def imports(text):
    "(module, name) of all that code imports from this package"
    text = re.sub(r'^([ \t]*)[!%].*$', r'\1pass', text, flags=re.M)
    return {(n.module, a.name) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom) and (n.module or '').startswith('gla_inpaint.') for a in n.names}


def test_the_public_names_are_few(): assert sum(map(len, public().values())) < 85


def test_reference_lists_every_public_name():
    "and no other, each with a sentence on it"
    rows = [re.split(r'(?<!\\)\|', row) for row in re.findall(r'^\| \[.*$', prose(ROOT/'nbs/reference.ipynb'), re.M)]
    listed = {re.match(r'\s*\[([\w.]+)\]', name)[1]: about.strip() for _,name,about,*_ in rows}
    assert {n for n in listed if '.' not in n} == {n for names in public().values() for n in names}, 'run make notebooks'
    assert all(len(about) > 5 and not re.fullmatch(r'an? \w+', about) for about in listed.values()), listed


def test_what_pages_for_users_import_is_public():
    offered = {n for names in public().values() for n in names}
    used = {pair for p in (ROOT/'nbs/index.ipynb', *(ROOT/'nbs/tutorials').glob('*.ipynb')) for c in cells(p) if c['cell_type'] == 'code' for pair in imports(source(c))}
    used |= {pair for code in re.findall(r'^```python\n(.*?)^```', (ROOT/'README.md').read_text(), re.M | re.S) for pair in imports(code)}
    assert len(used) > 25 and not {n for _,n in used if n not in offered}


# where names were before: who imports them there goes on to
FORMER = {'inference': 'load_inpainter save_inpainter DEFAULT_WEIGHTS DEFAULT_SHA256 InpaintError read_hole save_photo', 'data': 'load_photo SUFFIXES UNREADABLE', 'demo': 'mean_colour biharmonic'}

@pytest.mark.parametrize('module,name', [(m, n) for m,names in FORMER.items() for n in names.split()])
def test_former_imports(module, name): assert hasattr(import_module(f'gla_inpaint.{module}'), name)


@pytest.mark.skipif(shutil.which('quarto') is not None, reason='quarto is installed')
def test_make_docs_says_what_it_needs(tmp_path):
    shutil.copy(ROOT/'Makefile', tmp_path)
    run = subprocess.run(['make', 'docs'], cwd=tmp_path, env=CLEAN, capture_output=True, text=True)
    assert run.returncode and len(run.stdout.splitlines()) == 1 and 'quarto.org' in run.stdout and 'Error 1' in run.stderr
    assert [p.name for p in tmp_path.iterdir()] == ['Makefile']


@pytest.fixture(scope='module')
def processed(tmp_path_factory):
    "The pages that nbdev hands to quarto, and all that it said. It is told that quarto is there: it would install it, and this package with it."
    root,tools = tmp_path_factory.mktemp('site')/'project',tmp_path_factory.mktemp('tools')
    shutil.copytree(ROOT, root, symlinks=True, ignore=shutil.ignore_patterns('.git', '.venv*', 'demo', 'runs', '__pycache__', '_proc', '_docs'))
    (tools/'quarto').write_text('#!/bin/sh\nexit 1\n')
    (tools/'quarto').chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ['PATH']])
    run = subprocess.run(['make', '-s', 'pages'], cwd=root, env=CLEAN | {'PATH': path, 'PYTHONPATH': str(root)}, capture_output=True, text=True)
    return root,run


def test_pages_are_made_without_a_word(processed):
    root,run = processed
    assert run.returncode == 0 and run.stdout+run.stderr == '', run.stdout+run.stderr


def test_every_page_is_made(processed):
    root,_ = processed
    for page in notebooks(root):
        made = cells(root/'_proc'/page.relative_to(root/'nbs'))
        front = yaml.safe_load(source(made[0]).strip('-\n '))
        title = source(cells(page)[0]).splitlines()[0].strip('# ')
        assert front['title'] == title and front['output-file'].endswith('.html') and front['description'], page
        documented = {h for c in made for t in shown(c, 'text/markdown') for h in re.findall(r'^### (\S+)$', t, re.M)}
        public = {n.name for c in cells(page) if exported(c) and not internal(c) for n in definitions(c) if n.name[0] != '_'}
        assert {p for p in public if not any(d.split('.')[0] == p or d.endswith(f'.{p}') for d in documented)} == set(), page
        assert not any({'hide', 'default_exp'} & options(c).keys() or source(c).startswith("if 'google.colab'") for c in made), page
        assert not any('](http' in code for c in made for t in shown(c, 'text/markdown') for code in re.findall(r'```.*?```', t, re.S)), f'{page}: links inside code'


def test_no_link_within_a_link(processed):
    "nbdev links names in backticks; where one is a link's own words, both would stand on the page as they are typed"
    root,_ = processed
    assert not [(p.name, t) for p in (root/'_proc').rglob('*.ipynb') for t in re.findall(r'\[\[`[^`]*`\]\([^)]*\)[^\]]*\]\([^)]*\)', prose(p))]


def test_exported_source_is_folded(processed):
    "Signature and documentation are there already; the source is one click away"
    root,_ = processed
    folds = [options(c)['code-fold'] for p in notebooks(root) for c in cells(root/'_proc'/p.relative_to(root/'nbs')) if options(c).get('code-summary') == '"Exported source"']
    assert len(folds) > 50 and set(folds) == {'true'}


def test_internal_source_stands_open(processed):
    "It is part of the story, and has no signature and documentation above it; a page may fold some itself"
    root,_ = processed
    def _code(c): return re.sub(r'^#\|.*\n', '', source(c), flags=re.M).strip()
    for page in notebooks(root):
        unfolded = {_code(c) for c in cells(root/'_proc'/page.relative_to(root/'nbs')) if c['cell_type'] == 'code' and 'code-fold' not in options(c)}
        hidden = [c['id'] for c in cells(page) if exported(c) and internal(c) and 'code-fold' not in options(c) and _code(c) not in unfolded]
        assert not hidden, f'{name(root, page)}: {hidden}'


def test_api_links_arrive(processed):
    "nbdev turns names in backticks into links to the site's own address."
    root,_ = processed
    ini = ConfigParser(); ini.read(root/'settings.ini')
    home,dead,n = ini['DEFAULT']['doc_host']+ini['DEFAULT']['doc_baseurl']+'/',[],0
    pages = {(p.parent/yaml.safe_load(source(cells(p)[0]).strip('-\n '))['output-file']).relative_to(root/'_proc').as_posix(): p
             for p in (root/'_proc').rglob('*.ipynb')}
    there = {where: {h.lower() for c in cells(p) for t in shown(c, 'text/markdown') for h in re.findall(r'^### (\S+)$', t, re.M)} | {options(c).get('label') for c in cells(p) if c['cell_type'] == 'code'} for where,p in pages.items()}
    for page in pages.values():
        for where,at in re.findall(re.escape(home)+r'([\w./]+)#([\w.]+)', prose(page)):
            n += 1
            if at not in there[where]: dead.append(f'{page.name}: {where}#{at}')
    assert n > 50 and not dead, dead
