"The comparison of the networks: what a run is given, that nothing is done twice, and each idea in our own skeleton."
import json, sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest, torch
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'nbs/others'))

from gla_inpaint import train
from gla_inpaint.nets import NETS, make_net, net_class, size_of, width_for
from gla_inpaint.generator import Inpainter
from gla_inpaint.weights import load_inpainter, save_inpainter

@pytest.fixture(scope='module', autouse=True)
def names():
    "The skeletons have names as long as these tests run"
    before = dict(NETS)
    import seven, skeleton
    NETS.update({k.name: f'skeleton:{k.__name__}' for k in skeleton.KINDS})
    yield
    for n in NETS.keys()-before.keys(): del NETS[n]

@pytest.fixture
def bench(tmp_path, monkeypatch):
    "Twelve photos, two to measure on, and a `gla_train` that only notes what it was given"
    import seven
    rng,calls = np.random.default_rng(0),[]
    for folder,n in (('photos', 12), ('val', 2)):
        (tmp_path/folder).mkdir()
        for i in range(n): Image.fromarray(rng.integers(0, 256, (40,50,3), dtype=np.uint8)).save(tmp_path/folder/f'{i}.png')
    def fake(argv):
        calls.append(argv)
        again = argv[0] == '--resume'
        args = vars(train._parser().parse_args(argv))
        run = args['resume'] if again else args['out']
        if not again: train.new_run(args['photos'], run, **{k: v for k,v in args.items() if k not in ('photos', 'out')})
        s = train.read_settings(run)
        (run/'checkpoints').mkdir(exist_ok=True)
        train.write_checkpoint(run/'checkpoints', 6, dict(train_iter=6, spent=.5))
        save_inpainter(make_net(s['net'], s['net_settings'] or dict(width=s['width'])), run/'last.safetensors')
        return 0
    monkeypatch.setattr(seven.train, 'main', fake)
    monkeypatch.setattr(seven, 'MARKS', ['mean-colour'])
    monkeypatch.setattr(seven, 'HOLES', 2)
    monkeypatch.setattr(train, 'Clock', train.Clock)
    at = {k: str(tmp_path/k) for k in ('photos', 'val', 'runs')}
    def go(*more): seven.main([*at.values(), '--budget', '4', '--size', '32', '--bs', '2', '--steps', '6', '--results', str(tmp_path/'results'), *more])
    return SimpleNamespace(go=go, calls=calls, rows=lambda: pd.read_csv(tmp_path/'results/seven.csv'), runs=tmp_path/'runs')

def test_seed_by_seed_and_never_twice(bench):
    few = '--nets', 'gla', 'partial', '--tables', 'A', 'B', '--seeds', '0', '1'
    bench.go(*few)
    t = bench.rows()
    runs = t[t.table != 'none'].drop_duplicates(['table', 'net', 'seed'])
    assert list(zip(runs.seed, runs.table, runs.net)) == [(s, t, n) for s in (0, 1) for t in 'AB' for n in ('gla', 'partial')]
    assert len(t) == 3*(1+8) and set(t.bucket) == {'20-30', '30-40', '40-50'} and set(t.photos) == {2} and set(runs.steps) == {6} and set(runs.minutes) == {.5}
    n,before = len(bench.calls),t.to_csv()
    bench.go(*few)
    assert len(bench.calls) == n and bench.rows().to_csv() == before

def test_what_a_run_is_given(bench):
    bench.go('--nets', 'partial', '--tables', 'A', 'A+D', 'B', 'B+D', '--seeds', '0', '--minutes', '2')
    a,d,b,bd = (train.read_settings(bench.runs/f'{t}-partial-0') for t in ('A', 'A+D', 'B', 'B+D'))
    assert (a['without'], d['without'], b['without']) == (['adversarial'], [], ['adversarial']) and (a['epochs'], a['minutes'], b['minutes']) == (1, None, 2)
    assert (bd['without'], bd['minutes']) == ([], 2)
    assert a['train'] == d['train'] == b['train'] and len(a['train']) == 12 and a['net_settings'] == dict(width=width_for('partial', 4))

def test_a_half_run_goes_on_and_another_is_refused(bench):
    one = '--nets', 'gla', '--tables', 'A', '--seeds', '0'
    bench.go(*one)
    (bench.runs.parent/'results/seven.csv').unlink()
    bench.go(*one)
    assert bench.calls[-1][0] == '--resume' and len(bench.rows()) == 6
    with pytest.raises(SystemExit, match='another lr'): bench.go(*one, '--lr', '1e-4')

def test_steps_that_are_no_whole_passes(bench):
    with pytest.raises(SystemExit, match='another --steps'): bench.go('--steps', '13')

@pytest.mark.parametrize('i', range(6))
def test_a_skeleton_is_a_generator(i, tmp_path):
    from skeleton import SKELETONS
    name = SKELETONS[i]
    assert abs(size_of(net_class(name), dict(width=width_for(name, 16)))/size_of(Inpainter, dict(width=16))-1) < .12
    net = make_net(name, dict(width=4))
    x,m = torch.rand(1, 3, 32, 40)*2-1,torch.ones(1, 1, 32, 40)
    m[...,8:20,8:30] = 0
    a,b = net(x, m)
    (a.mean()+b.square().mean()).backward()
    assert all(p.grad is not None for p in net.parameters()) and max(a.abs().max(), b.abs().max()) <= 1
    save_inpainter(net, tmp_path/'w.safetensors')
    with torch.no_grad(): again = load_inpainter(tmp_path/'w.safetensors', 'cpu')(x.masked_fill(m == 0, .7), m)
    assert torch.equal(again[1], net.eval()(x, m)[1]), 'read again, and blind to what lies under the hole'

def test_the_printed_table_is_typed_alike():
    def typed(page): return next(t for c in json.loads((ROOT/'nbs'/page).read_text())['cells'] if (t := ''.join(c['source'])).find('TABLE1 = (') >= 0)
    def table(page): return typed(page).split('TABLE1 = ')[1].split('""")')[0]
    assert table('others/seven.ipynb') == table('paper/tables.ipynb')
