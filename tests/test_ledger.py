"The ledger's promises hold: every equation, table and figure has a cell that asserts something, every link arrives. And a fault of each kind is found."
import copy, re, sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent/'nbs/paper'))
from ledger import ENTRIES, anchors, arrives, asserts, faults, imports, page_links, read_books, read_ledger, slug, source

BOOKS = read_books()

@pytest.fixture
def books(): return copy.deepcopy(BOOKS)

@pytest.fixture
def ledger(): return read_ledger()

def entry(ledger, name): return next(e for e in ledger if e['entry'] == name)

def cell(books, label, path='02_mpga.ipynb'): return next(c for c in books[path] if f'#| label: {label}\n' in source(c))

@pytest.fixture(scope='module')
def before(): return faults(read_ledger(), BOOKS)

@pytest.fixture
def new_faults(ledger, books, before): return lambda: [f for f in faults(ledger, books) if f not in before]

@pytest.fixture
def found(new_faults):
    "Is there exactly one new fault, and does it say these words?"
    def _found(*words):
        fault, = new_faults()
        assert all(w in fault for w in words), fault
    return _found

def test_the_ledger_stands(before): assert not before, '\n'.join(before)

def test_it_covers_the_paper():
    assert len(ENTRIES) == len(set(ENTRIES)) == 20+8+10

# --- an entry, and what it names

@pytest.mark.parametrize('name', ['eq-12', 'table-A2', 'fig-8'])
def test_missing_entry(ledger, name, new_faults):
    ledger.remove(entry(ledger, name))
    assert any(f.startswith(f'{name} stands 0 times') for f in new_faults())

def test_entry_twice_and_unknown(ledger, new_faults):
    ledger += [entry(ledger, 'eq-20'), entry(ledger, 'eq-20') | dict(entry='eq-21')]
    assert new_faults() == ['eq-20 stands 2 times in the ledger', 'eq-21 is nothing that the paper numbers']

def test_entry_without_cell(ledger, found):
    entry(ledger, 'fig-7')['checks'] = []
    found('fig-7: no cell checks it')

def test_unlisted_own_cell(ledger, new_faults):
    entry(ledger, 'eq-3')['checks'].remove('../02_mpga.ipynb#check-eq-3')
    assert '02_mpga.ipynb: check-eq-3 is not in the ledger under eq-3' in new_faults()

def test_label_that_is_nowhere(ledger, new_faults):
    entry(ledger, 'eq-3')['checks'].append('../02_mpga.ipynb#check-eq-3-z')
    assert 'eq-3: ../02_mpga.ipynb#check-eq-3-z: no cell has this label' in new_faults()

@pytest.mark.parametrize('name', ['mpga.MPGB', 'mpga.MPGA.attends'])
def test_name_that_does_not_import(ledger, name, found):
    entry(ledger, 'eq-5')['code'].append(name)
    found(f'eq-5: gla_inpaint.{name} does not import')

def test_symbol_that_no_code_has(ledger, found):
    entry(ledger, 'eq-1')['symbols']['$x$'] = 'rh'
    found('eq-1: no code of its notebooks says rh')

# --- a check cell

@pytest.mark.parametrize('code', ['kappa4', 'assert True', 'assert 1 == 1, kappa4', 'test_eq(1, 1)', 'assert (kappa4.sum() == 4, "a tuple is true")',
                                  'def check(): assert kappa4.sum() == 4', 'f = lambda: test_eq(kappa4.sum(), 4)', 'print("assert kappa4.sum() == 4") # test_eq(kappa4, 4)'])
def test_cell_that_asserts_nothing(books, code, found):
    cell(books, 'check-eq-3')['source'] = [f'#| label: check-eq-3\n{code}']
    found('eq-3', 'check-eq-3: the cell asserts nothing')

@pytest.mark.parametrize('code', ['assert x > 1', '%time\nassert x', 'for x in xs:\n    if x: test_close(x, 1)', 'with a: test_eq(x, 1)', 'fc.test_eq(x, 1)',
                                  'test_fail(lambda: f(x))', 'try: f()\nexcept E as e: assert str(e)'])
def test_code_that_asserts(code): assert asserts(code)

def test_unlabelled(books, new_faults):
    c = cell(books, 'check-eq-10', '03_gla.ipynb')
    c['source'] = source(c).replace('#| label: check-eq-10\n', '').splitlines(True)
    assert 'eq-10: ../03_gla.ipynb#check-eq-10: no cell has this label' in new_faults()

def test_hidden_cell_is_no_place(books, new_faults):
    c = cell(books, 'check-eq-10', '03_gla.ipynb')
    c['source'] = ['#| hide\n', *c['source']]
    assert 'eq-10: ../03_gla.ipynb#check-eq-10: the link is dead' in new_faults()

def test_same_label_twice(books, found):
    books['03_gla.ipynb'].append(cell(books, 'check-eq-10', '03_gla.ipynb'))
    found('03_gla.ipynb: check-eq-10 labels 2 cells')

@pytest.mark.parametrize('label,words', [('check-eq-3-d', 'is not in the ledger under eq-3'), ('check-eq3', 'names no entry'), ('check-eq-3-10', 'names no entry')])
@pytest.mark.parametrize('path', ['00_masks.ipynb', 'tutorials/your_photos.ipynb'])
def test_stray_label(books, label, words, path, found):
    books[path].append(dict(cell_type='code', source=[f'#| label: {label}\n', 'assert x']))
    found(path, label, words)

def test_label_of_our_own(books, new_faults, found):
    books['00_masks.ipynb'].append(dict(cell_type='code', source=['#| label: check-mask-like\n', 'assert x']))
    assert not new_faults()
    books['00_masks.ipynb'][-1]['source'] = ['#| label: check-mask-like\n', 'x']
    found('00_masks.ipynb: check-mask-like asserts nothing')

# --- links

@pytest.mark.parametrize('link', ['../02_mpgb.ipynb', '../02_mpga.ipynb#equation-6', '../02_mpga.ipynb#check-eq-6', 'results/nothing.csv', '#nowhere'])
def test_dead_link(ledger, books, link, found):
    books['paper/ledger.ipynb'].append(dict(cell_type='markdown', source=[f'see [there]({link})']))
    found(f'the link {link} is dead')

def test_dead_link_of_an_entry(books, new_faults):
    c = next(c for c in books['02_mpga.ipynb'] if '<a id="eq-3">' in source(c))
    c['source'] = source(c).replace('<a id="eq-3">', '<a id="eq-30">').splitlines(True)
    assert 'eq-3: ../02_mpga.ipynb#eq-3: the link is dead' in new_faults()

def test_dead_link_to_a_heading(books, new_faults):
    c = next(c for c in books['03_gla.ipynb'] if '## How sharp' in source(c))
    c['source'] = source(c).replace('## How sharp', '## What scale').splitlines(True)
    assert any(f.endswith('../03_gla.ipynb#how-sharp: the link is dead') for f in new_faults())

def test_page_that_is_older_than_the_ledger(ledger, found):
    entry(ledger, 'eq-3')['where'].append('../02_mpga.ipynb#one-call')
    found('does not show ../02_mpga.ipynb#one-call')

def test_links_that_arrive():
    places = {p: anchors(c) for p,c in BOOKS.items()}
    assert all(arrives(l, places) for l in ('tables.ipynb', '../03_gla.ipynb#how-sharp', '../05_discriminator.ipynb#million-parameters', 'results/ablations.csv'))
    assert len(page_links(BOOKS['paper/ledger.ipynb'])) > 100

@pytest.mark.parametrize('heading,anchor', [('Equation 3: softmax', 'equation-3-softmax'), ('8.71 million parameters', 'million-parameters'), ('`inpaint`', 'inpaint'),
                                            ('How sharp?', 'how-sharp'), ('Mine {#yours}', 'yours'), ('With a [link](x.ipynb)', 'with-a-link'), ('12', 'section')])
def test_slug(heading, anchor): assert slug(heading) == anchor

def test_imports(): assert imports('mpga.MPGA.attend') and not imports('mpga.nothing')

# --- papers

def papers(cells):
    "The papers that a page links, as (name, address)."
    shown = [source(c) for c in cells if c['cell_type'] == 'markdown']
    return [(name.strip('*').casefold(), address) for text in shown
            for name,address in re.findall(r'\[([^\[\]]+)\]\((https://(?:arxiv|doi)\.org/[^)\s]+)\)', text)]

def repeated(books):
    "Papers that a page links more than once, and names that lead to two papers."
    for path,cells in books.items():
        found = [a for _,a in papers(cells)]
        yield from (f'{path} links {a} {found.count(a)} times' for a in sorted(set(found)) if found.count(a) > 1)
    leads = {}
    for name,address in sorted({p for cells in books.values() for p in papers(cells)}): leads.setdefault(name, []).append(address)
    yield from (f'{name} leads to {" and ".join(where)}' for name,where in leads.items() if len(where) > 1)

def test_a_page_links_a_paper_once_and_a_name_leads_to_one_paper(books):
    assert len({a for cells in BOOKS.values() for _,a in papers(cells)}) > 20 and not list(repeated(books))
    books['00_masks.ipynb'].append(dict(cell_type='markdown', source=['[gated convolution](https://arxiv.org/abs/1806.03589), [SSIM](https://doi.org/10.1/x)']))
    assert [f.split()[0] for f in repeated(books)] == ['00_masks.ipynb', 'ssim']
