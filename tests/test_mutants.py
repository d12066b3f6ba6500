"The mutants apply, their results are those of today's list, and the machinery tells a caught one from a survivor. The mutants themselves are run by `make mutants`."
import csv, json

import pytest

import mutants
from mutants import MUTANTS, ROOT, Mutant, caught, code_cells, directives, main, mutated


def test_there_are_enough_and_each_is_named_once():
    assert len(MUTANTS) >= 25
    assert len({(m.notebook, m.wrong) for m in MUTANTS}) == len({(m.notebook, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize('mutant', MUTANTS, ids=lambda m: f'{m.notebook}: {m.wrong}')
def test_it_applies_exactly_once_and_is_python(mutant): mutated(mutant, ROOT)


def test_the_results_are_those_of_these_mutants_and_none_survived():
    with (ROOT/'nbs/paper/results/mutants.csv').open(newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    assert [tuple(r[k] for k in Mutant._fields) for r in rows] == [tuple(m) for m in MUTANTS], 'run make mutants'
    assert not [r['wrong'] for r in rows if not r['caught_by']]
    checks = {n: {directives(s).get('label'): s for _,s in code_cells(ROOT/f'nbs/{n}.ipynb')} for n in {r['notebook'] for r in rows}}
    for r in rows: assert r['assertion'] in checks[r['notebook']].get(r['caught_by'], ''), f"{r['notebook']} has no {r['caught_by']} with {r['assertion']} any more: run make mutants"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    "A project of one module and one notebook, and a way to say what its mutants are"
    cells = ["#| export\ndef double(x): return 2*x", "#| label: check-double\ny = double(3)\nassert y == 6, 'twice'", "double(5) + 1", "assert double(4) == 8"]
    def _cell(i, s): return dict(cell_type='code', id=f'toy-{i}', metadata={}, source=s.splitlines(True), outputs=[], execution_count=None)
    nb = dict(cells=[_cell(i, s) for i,s in enumerate(cells)], metadata={}, nbformat=4, nbformat_minor=5)
    for f,text in {'gla_inpaint/__init__.py': '', 'gla_inpaint/toy.py': 'def double(x): return 2*x\n', 'nbs/00_toy.ipynb': json.dumps(nb)}.items():
        (tmp_path/f).parent.mkdir(exist_ok=True)
        (tmp_path/f).write_text(text)
    (tmp_path/'nbs/paper/results').mkdir(parents=True)
    monkeypatch.setattr(mutants, 'ROOT', tmp_path)
    def _use(*pairs): monkeypatch.setattr(mutants, 'MUTANTS', [Mutant('00_toy', f'{old} as {new}', old, new) for old,new in pairs])
    _use.root = tmp_path
    return _use


def results(toy): return list(csv.DictReader((toy.root/'nbs/paper/results/mutants.csv').open()))


def test_one_that_is_caught(toy, capsys):
    toy(('2*x', '3*x'))
    assert main([]) == 0
    row, = results(toy)
    assert (row['caught_by'], row['assertion']) == ('check-double', "assert y == 6, 'twice'")
    assert '1 mutants, 0 survived' in capsys.readouterr().out
    assert (toy.root/'gla_inpaint/toy.py').read_text() == 'def double(x): return 2*x\n', 'the checkout is not touched'


def test_one_in_a_folder_of_other_methods(toy, monkeypatch):
    "others/04_toy belongs to others/toy.py, as far from the top as that is"
    for folder,suffix,name in (('nbs', 'ipynb', '04_toy'), ('gla_inpaint', 'py', 'toy')):
        (toy.root/folder/'others').mkdir()
        first = next((toy.root/folder).glob(f'*toy.{suffix}'))
        (toy.root/folder/'others'/f'{name}.{suffix}').write_text(first.read_text())
    monkeypatch.setattr(mutants, 'MUTANTS', [Mutant('others/04_toy', 'thrice', '2*x', '3*x')])
    assert main([]) == 0
    row, = results(toy)
    assert (row['notebook'], row['caught_by']) == ('others/04_toy', 'check-double')


def test_survivors_make_exit_status_1(toy, capsys):
    toy(('2*x', 'x + x'),                 # the same
        ('2*x', '2*x if x == 3 else 0'),  # fails in a cell without a name
        ('2*x', 'nobody'))                # crashes
    assert main([]) == 1
    assert [r['caught_by'] for r in results(toy)] == ['', '', '']
    said = capsys.readouterr().out
    assert '3 mutants, 3 survived' in said
    for why in ('no cell fails', 'no label, cell toy-3, AssertionError', 'check-double, cell toy-1, NameError'): assert why in said


def test_one_that_does_not_apply_stops_the_run(toy):
    for wrong in (('4*x', '3*x'), ('x', 'y'), ('2*x', '2*')):
        toy(wrong)
        with pytest.raises(SystemExit) as e: main([])
        assert e.value.code not in (0, None)
    assert not (toy.root/'nbs/paper/results/mutants.csv').exists()


def test_a_notebook_that_fails_by_itself_stops_the_run(toy):
    toy(('2*x', '3*x'))
    nb = toy.root/'nbs/00_toy.ipynb'
    nb.write_text(nb.read_text().replace('== 6', '== 7'))
    with pytest.raises(SystemExit, match='by itself'): main([])


def test_a_crash_and_a_check_without_a_name_do_not_count():
    assert caught(dict(asserted=True, label='check-x')) and not caught({})
    assert not caught(dict(asserted=False, label='check-x')) and not caught(dict(asserted=True, label='fig-x'))
