"gla_evaluate: hole sets, pairs, killed and resumed runs, bad input. What a notebook cannot show: processes, kills, memory, weight files."
import csv, json, math, os, re, shutil, signal, subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np, pandas as pd, pytest, torch
from PIL import Image

from gla_inpaint import evaluate as ev
from gla_inpaint.data import to_tensor
from gla_inpaint.evaluate import METHODS, evaluate, fid_of, find_methods, load_holes, local_inception, local_lpips, main, make_holes, read_rows, score, summarise
from gla_inpaint.generator import Inpainter
from gla_inpaint.blend import harmonic_blend, limit_contrast
from gla_inpaint.weights import InpaintError, save_inpainter
from gla_inpaint.masks import hole_of_ratio, mask_from_hole

torch.set_num_threads(1)
COMMAND = [sys.executable, '-W', 'ignore', '-m', 'gla_inpaint.evaluate']
# with `--baselines`
ALL = 'gla_inpaint','with-detail','one-pass',*ev.BASELINES
FAST = ('--without', 'gla_inpaint', '--without', 'with-detail', '--without', 'one-pass', '--without', 'membrane', '--without', 'biharmonic', '--baselines')

def picture(seed=0, size=(90,70)):
    "A smooth colour picture, different for each seed; `size` is (width, height)."
    small = np.random.default_rng(seed).integers(0, 256, (4,6,3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.BICUBIC)

def weights(path, seed=0, size=None):
    torch.manual_seed(seed)
    net = Inpainter(4)
    net.size = size
    save_inpainter(net, path, f'seed {seed}')
    return path

@pytest.fixture
def bench(tmp_path):
    "A folder with five photos, a set of four holes a bucket, and weights."
    (tmp_path/'photos').mkdir()
    for i in range(5): picture(i).save(tmp_path/f'photos/p{i}.png')
    make_holes(tmp_path/'holes', 4, (48,64), seed=3)
    weights(tmp_path/'w.safetensors')
    return tmp_path

def run(bench, *args, out='out'): return main([str(a) for a in (bench/'photos', '--holes', bench/'holes', '--weights', bench/'w.safetensors', '--out', bench/out, *args)])
def lines(bench, out='out'): return (bench/out/'rows.csv').read_text().splitlines(keepends=True)
def table(bench, out='out'): return pd.read_csv(bench/out/'table.csv')

# --- hole sets

def test_a_set_says_what_it_is(tmp_path):
    manifest = make_holes(tmp_path/'a/set', 3, (32,40), seed=5)
    assert (manifest['n'], manifest['size'], manifest['seed']) == (3, [32,40], 5) and list(manifest['holes']) == ['20-30','30-40','40-50']
    for (lo,hi),holes in zip(ev.BUCKETS, manifest['holes'].values()):
        for e in holes:
            hole = np.asarray(Image.open(tmp_path/'a/set'/e['file']).convert('L')) > 127
            assert hole.shape == (32,40) and lo <= hole.mean() < hi and hole.mean() == e['ratio']
    assert [p.name for p in (tmp_path/'a').iterdir()] == ['set']

def test_sets_of_one_seed_begin_alike(tmp_path):
    a,b,c = (make_holes(tmp_path/f'{n}{seed}', n, (32,40), seed)['holes'] for n,seed in ((2,0), (3,0), (2,1)))
    assert all(b[k][:2] == a[k] for k in a) and all(x['sha256'] != y['sha256'] for k in a for x,y in zip(a[k], c[k]))

def test_a_set_is_verified_and_not_written_again(bench, capsys):
    before = {p: p.stat().st_mtime_ns for p in bench.rglob('holes/**/*')}
    assert main(['--make-holes', str(bench/'holes'), '--n', '4', '--size', '48x64', '--seed', '3']) == 0 and 'verified' in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in bench.rglob('holes/**/*')}

@pytest.mark.parametrize('args, says', [(('--n', '5', '--size', '48x64', '--seed', '3'), 'n 4, not 5'), (('--n', '4', '--size', '64x48', '--seed', '3'), 'size [48, 64], not [64, 48]'),
                                        (('--n', '4', '--size', '48x64'), 'seed 3, not 0')])
def test_other_settings_are_refused(bench, capsys, args, says):
    before = {p: p.read_bytes() for p in bench.rglob('holes/**/*') if p.is_file()}
    assert main(['--make-holes', str(bench/'holes'), *args]) == 1 and says in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in bench.rglob('holes/**/*') if p.is_file()}

def test_a_folder_of_something_else_is_left_alone(bench, capsys):
    assert main(['--make-holes', str(bench/'photos'), '--n', '2', '--size', '32x32']) == 1 and 'manifest.json' in capsys.readouterr().err
    assert len(list((bench/'photos').iterdir())) == 5

@pytest.mark.parametrize('harm, says', [(lambda f: f.unlink(), 'missing'), (lambda f: f.write_bytes(f.read_bytes()[:-1]), 'not the file that the manifest lists')])
def test_a_harmed_set_is_refused(bench, capsys, harm, says):
    harm(bench/'holes/30-40/00002.png')
    for args in (['--make-holes', str(bench/'holes'), '--n', '4', '--size', '48x64', '--seed', '3'], [str(bench/'photos'), '--holes', str(bench/'holes'), '--out', str(bench/'out')]):
        assert main(args) == 1
        err = capsys.readouterr().err
        assert '00002.png' in err and says in err
    assert not (bench/'out').exists()

@pytest.mark.parametrize('text', ['', '[]', '{"n": 3}', '{"holes": {"20-30": [{}]}}', '{"holes": {"20-30": ["x"]}}'])
def test_a_damaged_manifest_is_refused(bench, text):
    (bench/'holes/manifest.json').write_text(text)
    with pytest.raises(InpaintError, match='manifest.json is damaged'): load_holes(bench/'holes')

def test_an_interrupted_set_is_no_set(tmp_path):
    real = ev._write_hole
    def stop(folder, bucket, i, *args):
        if i == 1: raise KeyboardInterrupt
        return real(folder, bucket, i, *args)
    with patch.object(ev, '_write_hole', stop), pytest.raises(KeyboardInterrupt): make_holes(tmp_path/'set', 3, (32,32))
    assert not list(tmp_path.iterdir())

def test_a_set_may_have_as_long_a_name_as_the_disk_allows(tmp_path):
    assert make_holes(tmp_path/('h'*250), 1, (32,32))['n'] == 1 and len(list(tmp_path.iterdir())) == 1

@pytest.mark.parametrize('args', [('--make-holes', 'h', '--size', '512'), ('--make-holes', 'h', '--size', '512*680'), ('--make-holes', 'h', '--n', '0'), (), ('photos',), ('--holes', 'h'),
                                  ('photos', '--holes', 'h', '--without', 'everything'), ('photos', '--holes', 'h', '--dataset', 'mnist'), ('photos', '--holes', 'h', '--size', '64x64'),
                                  ('--make-holes', 'h', '--weights', 'w.safetensors'), ('--make-holes', 'h', '--baselines', '--out', 'results'), ('photos', '--make-holes', 'a', '--holes', 'b'),
                                  ('photos', '--holes', 'h', '--seed', '4'), ('photos', '--holes', 'h', '--dataset', 'celeba-hq', '--seed', '4')])
def test_wrong_usage(args, capsys):
    with pytest.raises(SystemExit) as e: main(list(args))
    assert e.value.code == 2 and 'usage' in capsys.readouterr().err

@pytest.mark.parametrize('args', [('--size', '8x8'), ('--seed', '-1')])
def test_settings_without_sense(tmp_path, capsys, args):
    assert main(['--make-holes', str(tmp_path/'h'), '--n', '2', *args]) == 1 and 'gla_evaluate:' in capsys.readouterr().err and not (tmp_path/'h').exists()

# --- pairs

def test_pairs_are_in_sorted_order_as_far_as_both_go(bench, capsys):
    assert run(bench, *FAST) == 0
    assert '5 photos, 4 holes in each bucket: 4 pairs in each' in capsys.readouterr().out
    rows = read_rows(bench/'out/rows.csv')
    assert {(Path(r.photo).name, r.hole) for r in rows.itertuples()} == {(f'p{i}.png', f'{b}/{i:05}.png') for i in range(4) for b in ('20-30','30-40','40-50')}
    assert run(bench, *FAST, '--n', '2', out='two') == 0 and set(table(bench, 'two').n) == {2}

def test_more_holes_than_photos(bench, capsys):
    for i in (1, 3): (bench/f'photos/p{i}.png').unlink()
    assert run(bench, *FAST) == 0 and '3 photos, 4 holes in each bucket: 3 pairs' in capsys.readouterr().out

def test_an_empty_side_is_an_error(bench, capsys):
    (bench/'empty').mkdir()
    for photos,holes,says in (('empty','holes','no photo'), ('nowhere','holes','no folder'), ('photos','empty','manifest.json'), ('photos','nowhere','manifest.json')):
        assert main([str(bench/photos), '--holes', str(bench/holes), '--out', str(bench/'out')]) == 1
        err = capsys.readouterr().err
        assert says in err and 'Traceback' not in err
    assert not (bench/'out').exists()

def test_a_file_where_a_folder_should_be(bench, capsys):
    file = bench/'file'
    file.write_text('mine')
    photos,holes = str(bench/'photos'),str(bench/'holes')
    for args,says in ((['--make-holes', str(file)], 'no folder with a manifest.json'), ([photos, '--holes', str(file)], 'no folder with a manifest.json'),
                      ([photos, '--holes', holes, '--out', str(file)], 'is a file: choose a folder'),
                      ([photos, '--holes', holes, '--out', str(bench/'out'), '--lpips', str(bench/'none.pth')], 'there is no file')):
        assert main(args) == 1
        err = capsys.readouterr().err
        assert says in err and 'Errno' not in err
    assert file.read_text() == 'mine'

def test_holes_and_results_inside_the_photos_are_no_photos(bench, capsys):
    args = [str(bench), '--holes', str(bench/'holes'), '--out', str(bench/'out'), *FAST]
    for _ in range(2): assert main(args) == 0 and '5 photos' in capsys.readouterr().out

def test_photos_are_scaled_by_the_shorter_side_and_cut_in_the_middle(tmp_path):
    stripes = np.zeros((100,300,3), np.uint8); stripes[:,100:200] = 255
    Image.fromarray(stripes).save(tmp_path/'wide.png')
    truth,zoom = ev._load_truth(tmp_path/'wide.png', (50,50))
    assert zoom == .5 and (truth > .5).all()

def test_enlarged_photos_are_counted(bench, capsys):
    picture(9, (40,30)).save(bench/'photos/p2.png')
    assert run(bench, *FAST) == 0 and '1 of 4 photos are smaller' in capsys.readouterr().err
    assert json.loads((bench/'out/table.json').read_text())['enlarged'] == 1

# --- holes of one's own, without a manifest

def own_hole(path, share=.25, size=(90,70)):
    "A hole that is a band at the left; `size` is (width, height)."
    path.parent.mkdir(parents=True, exist_ok=True)
    hole = np.zeros(size[::-1], np.uint8)
    hole[:,:round(share*size[0])] = 255
    Image.fromarray(hole).save(path)

def measured(folder): return {(Path(r.photo).name, r.hole, r.bucket) for r in read_rows(folder/'out/rows.csv').itertuples()}
def measure_own(photos, holes, out, *args): return main([str(photos), '--holes', str(holes), '--out', str(out), *FAST, *args])

def test_holes_of_my_own_are_found_by_the_names_of_the_photos(bench, capsys):
    (bench/'photos/trip').mkdir()
    picture(8).save(bench/'photos/trip/p0.jpg')
    for name,share in (('p0.png', .25), ('trip/p0.png', .05), ('p2_mask001.png', .45), ('p2_mask002.png', .95), ('p9.png', .2)): own_hole(bench/'mine'/name, share)
    assert measure_own(bench/'photos', bench/'mine', bench/'out') == 0
    assert measured(bench) == {('p0.png','p0.png','20-30'), ('p0.jpg','trip/p0.png','0-10'), ('p2.png','p2_mask001.png','40-50'), ('p2.png','p2_mask002.png','90-100')}
    said = capsys.readouterr()
    assert '4 holes with a photo' in said.out and '3 photos have no hole' in said.err and "1 holes have no photo of their name, such as" in said.err and 'p9.png' in said.err
    assert measure_own(bench/'photos', bench/'mine', bench/'out') == 0 and '4 of 4 done before' in capsys.readouterr().out
    (bench/'photos/p0.png').unlink()
    assert measure_own(bench/'photos', bench/'mine', bench/'two', '--n', '2') == 0 and '2 holes with a photo' in capsys.readouterr().out

def test_the_numbers_over_my_own_holes_are_right(tmp_path):
    for d in ('photos', 'mine'): (tmp_path/d).mkdir()
    picture(3).save(tmp_path/'photos/a.png'); own_hole(tmp_path/'mine/a.png', .3)
    assert measure_own(tmp_path/'photos', tmp_path/'mine', tmp_path/'out', '--without', 'telea', '--without', 'navier-stokes') == 0
    x,(row,) = np.asarray(picture(3)).astype(float),list(read_rows(tmp_path/'out/rows.csv').itertuples())
    off = np.abs(np.round(x[:,27:].mean((0,1))) - x[:,:27]).mean()
    assert math.isclose(row.hole_l1, 100*off/255, rel_tol=2e-3) and row.zoom == 1

def test_photos_and_holes_in_one_folder_as_lama_has_them(tmp_path, capsys):
    for i in range(2): picture(i).save(tmp_path/f'img{i}.png'); own_hole(tmp_path/f'img{i}_mask001.png', .3)
    picture(7).save(tmp_path/'unmasked.png')
    for _ in range(2): assert measure_own(tmp_path, tmp_path, tmp_path/'out') == 0
    assert measured(tmp_path) == {(f'img{i}.png', f'img{i}_mask001.png', '30-40') for i in range(2)}
    said = capsys.readouterr()
    assert '2 of 2 done before' in said.out and said.err.count('1 photos have no hole of their name') == 2 and 'no photo of' not in said.err

def test_accents_spelt_in_two_ways_are_one_name(tmp_path):
    (tmp_path/'photos').mkdir()
    picture(0).save(tmp_path/'photos/cafe\u0301.png'); own_hole(tmp_path/'mine/caf\u00e9.png')
    assert measure_own(tmp_path/'photos', tmp_path/'mine', tmp_path/'out') == 0

def test_holes_that_fit_no_photo(bench, capsys):
    own_hole(bench/'mine/elsewhere.png')
    assert measure_own(bench/'photos', bench/'mine', bench/'out') == 1 and 'beach_mask001.png' in capsys.readouterr().err
    assert measure_own(bench/'photos', bench/'photos', bench/'out') == 1 and 'beach_mask001.png' in capsys.readouterr().err, 'the same folder twice'
    own_hole(bench/'mine/p0.png'); own_hole(bench/'mine/p0.bmp')
    assert measure_own(bench/'photos', bench/'mine', bench/'out') == 1 and 'which is meant?' in capsys.readouterr().err
    assert not (bench/'out').exists()

def test_a_hole_of_another_shape_is_refused_and_the_rest_goes_on(bench, capsys):
    own_hole(bench/'mine/p0.png', size=(90,80)); own_hole(bench/'mine/p1.png', size=(45,35)); own_hole(bench/'mine/p2.png', share=0)
    assert measure_own(bench/'photos', bench/'mine', bench/'out') == 1
    err = capsys.readouterr().err
    assert 'the photo is 90x70 and its hole 90x80' in err and 'nothing to fill' in err and '2 photo(s) could not be measured' in err
    assert measured(bench) == {('p1.png','p1.png','20-30')}, 'a hole of half the size is of the same shape'

# --- an unreadable photo

def test_an_unreadable_photo_is_named_and_the_rest_goes_on(bench, capsys):
    assert run(bench, *FAST, out='whole') == 0
    whole = (bench/'photos/p1.png').read_bytes()
    (bench/'photos/p1.png').write_bytes(whole[:len(whole)//2])
    capsys.readouterr()
    assert run(bench, *FAST) == 1
    said = capsys.readouterr()
    assert 'p1.png' in said.err and '1 photo(s) could not be measured' in said.err and set(table(bench).n) == {3}
    kept = [l for l in lines(bench)[1:] if 'p3.png' in l]
    same = [l for l in lines(bench, 'whole')[1:] if 'p3.png' in l]
    hole = lambda ls: [r[2] for r in csv.reader(ls)]
    assert hole(kept) == hole(same), 'later photos keep their holes'
    (bench/'photos/p1.png').write_bytes(whole)
    before = ''.join(lines(bench))
    assert run(bench, *FAST) == 0 and ''.join(lines(bench)).startswith(before) and '9 of 12 done before' in capsys.readouterr().out

def test_no_readable_photo_at_all(bench, capsys):
    for p in (bench/'photos').iterdir(): p.write_text('no picture')
    assert run(bench, *FAST) == 1
    err = capsys.readouterr().err
    assert 'p0.png' in err and 'not one photo' in err and 'Traceback' not in err

def test_a_method_that_fails_takes_its_hole_with_it(bench, capsys):
    real = ev.as_used
    def sometimes(*args, **kwargs):
        if 'p2' in str(sometimes.photo): raise InpaintError('painted NaN')
        return real(*args, **kwargs)
    load = ev._load_truth
    def spy(path, *args): sometimes.photo = path; return load(path, *args)
    spy.cache_clear = load.cache_clear
    with patch.object(ev, 'as_used', sometimes), patch.object(ev, '_load_truth', spy): assert run(bench, '--baselines', '--without', 'biharmonic') == 1
    assert 'painted NaN' in capsys.readouterr().err and set(table(bench).n) == {3}

# --- killed, resumed, changed

def test_killed_and_started_again(bench):
    make_holes(bench/'many', 5, (48,64))
    args = [bench/'photos', '--holes', bench/'many', '--weights', bench/'w.safetensors', '--baselines']
    args = [*COMMAND, *map(str, args)]
    process = subprocess.Popen([*args, '--out', str(bench/'out')], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    path = bench/'out/rows.csv'
    while not (path.exists() and path.read_text().count('\n') > 9):
        assert process.poll() is None, process.stderr.read()
        time.sleep(.01)
    process.send_signal(signal.SIGKILL); process.wait(); process.stderr.close()
    kept = path.read_bytes()
    assert kept.count(b'\n') < 1 + 5*3*len(ALL), 'it was killed in the middle' 
    path.write_bytes(kept[:-7])                                                         # in the middle of a line
    kept = kept[:kept[:-7].rfind(b'\n')+1]
    again = subprocess.run([*args, '--out', str(bench/'out')], capture_output=True, text=True)
    whole = subprocess.run([*args, '--out', str(bench/'whole')], capture_output=True, text=True)
    assert again.returncode == whole.returncode == 0, again.stderr+whole.stderr
    assert path.read_bytes().startswith(kept) and path.read_bytes().count(b'\n') == 1 + 5*3*len(ALL)
    a,b = (table(bench, o).query("region != 'time'").reset_index(drop=True) for o in ('out', 'whole'))
    pd.testing.assert_frame_equal(a, b)

def test_interrupted(bench, capsys):
    def stop(*args, **kwargs): raise KeyboardInterrupt
    with patch.object(ev, '_measure', stop): assert run(bench) == 1
    assert 'goes on from' in capsys.readouterr().err

def test_nothing_is_measured_twice_and_baselines_can_come_later(bench):
    assert run(bench) == 0
    first = lines(bench)
    real,asked = ev._measure,set()
    with patch.object(ev, '_measure', lambda item, keys, **k: asked.update(keys) or real(item, keys, **k)): assert run(bench, '--baselines') == 0
    assert asked == set(ev.BASELINES)
    assert lines(bench)[:len(first)] == first and len(lines(bench)) == 1 + 4*3*len(ALL)
    with patch.object(ev, '_measure', lambda *a, **k: pytest.fail('measured again')): assert run(bench, '--baselines') == 0

@pytest.mark.parametrize('what', ['weights', 'photo', 'holes'])
def test_what_has_changed_is_measured_anew_and_never_mixed(bench, capsys, what):
    assert run(bench) == 0
    before,old = ''.join(lines(bench)),table(bench).query("region != 'time'")
    if what == 'weights': weights(bench/'w.safetensors', seed=1)
    if what == 'photo': picture(77).save(bench/'photos/p1.png')
    if what == 'holes': (bench/'holes').rename(bench/'old'); make_holes(bench/'holes', 4, (48,64), seed=8)
    capsys.readouterr()
    assert run(bench) == 0 and f"{9 if what == 'photo' else 0} of 12 done before" in (said := capsys.readouterr()).out
    assert f"{9 if what == 'photo' else 36} rows in" in said.err
    assert ''.join(lines(bench)).startswith(before) and set(table(bench).n) == {4}
    assert not np.allclose(table(bench).query("region != 'time'")['mean'], old['mean'])
    assert run(bench, out='fresh') == 0
    a,b = (table(bench, o).query("region != 'time'").reset_index(drop=True) for o in ('out', 'fresh'))
    pd.testing.assert_frame_equal(a, b)

@pytest.mark.parametrize('other', ['code 0000000000000000, torch 2.0, 1 thread(s) of this', 'another machine'])
def test_rows_that_other_code_or_another_machine_measured_are_measured_again(bench, capsys, other):
    with patch.object(ev, 'measured_by', lambda: other): assert run(bench, *FAST) == 0
    before = ''.join(lines(bench))
    capsys.readouterr()
    assert run(bench, *FAST) == 0 and '0 of 12 done before' in (said := capsys.readouterr()).out
    assert '36 rows in' in said.err and 'code or machines' in said.err
    assert ''.join(lines(bench)).startswith(before) and set(table(bench).n) == {4}
    assert run(bench, *FAST) == 0 and '12 of 12 done before' in capsys.readouterr().out

def test_whatever_fills_or_measures_is_part_of_the_code_version(tmp_path):
    package = shutil.copytree(Path(ev.__file__).parent, tmp_path/'gla_inpaint', ignore=shutil.ignore_patterns('weights', '__pycache__'))
    assert ev._code_sha(package) == ev._code_sha() and ev._code_sha()[:16] in ev.measured_by() and torch.__version__ in ev.measured_by()
    seen,files = {ev._code_sha()},list(package.rglob('*.py'))
    for file in [*files, package/'new.py']:
        with file.open('a') as f: f.write('\n')
        seen.add(ev._code_sha(package))
    assert len(seen) == 1 + len(files) - len(ev._APART) + 1

def test_what_is_no_part_of_the_code_version_is_not_used_in_filling_or_measuring():
    package = Path(ev.__file__).parent
    for file in (f for f in package.rglob('*.py') if f.stem not in ev._APART):
        used = set(re.findall(r'^from \.+(\w+) import', file.read_text(encoding='utf-8'), re.M)) & set(ev._APART)
        assert used <= ({'train'} if file.stem == 'evaluate' else set()), f'{file.stem} uses {used}'

def test_photos_may_move(bench, capsys):
    assert run(bench, *FAST) == 0
    (bench/'photos').rename(bench/'elsewhere'); capsys.readouterr()
    assert main([str(bench/'elsewhere'), '--holes', str(bench/'holes'), '--out', str(bench/'out'), *FAST]) == 0 and '12 of 12 done before' in capsys.readouterr().out

def test_results_of_something_else_are_not_overwritten(bench, capsys):
    (bench/'out').mkdir(); (bench/'out/rows.csv').write_text('my,own\n1,2\n')
    assert run(bench, *FAST) == 1 and 'another --out' in capsys.readouterr().err and (bench/'out/rows.csv').read_text() == 'my,own\n1,2\n'

# --- consoles, names, errors

def test_a_console_without_umlauts_and_a_name_with_them(bench):
    (bench/'photos').rename(bench/'Bühne')
    (bench/'Bühne/p1.png').write_text('no picture')
    (bench/'Bühne/p0.png').rename(bench/'Bühne/Löwe.png')
    args = [*COMMAND, str(bench/'Bühne'), '--holes', str(bench/'holes'), '--out', str(bench/'out'), *FAST]
    got = subprocess.run(args, capture_output=True, env=os.environ | dict(PYTHONIOENCODING='ascii', PYTHONUTF8='0'))
    said = (got.stdout+got.stderr).decode('ascii')
    assert got.returncode == 1 and 'L1' in said and 'p1.png' in said and 'Traceback' not in said
    assert 'Löwe.png' in (bench/'out/rows.csv').read_text(encoding='utf-8') and 'Bühne' in (bench/'out/table.md').read_text(encoding='utf-8')

@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere names are Unicode')
def test_a_name_that_is_no_unicode(bench, capsys):
    name = os.fsdecode(b'caf\xe9.png')
    (bench/'photos/p0.png').rename(bench/'photos'/name)
    for _ in range(2): assert run(bench, *FAST) == 0
    assert name in {Path(r.photo).name for r in read_rows(bench/'out/rows.csv').itertuples()} and '12 of 12 done before' in capsys.readouterr().out

@pytest.mark.parametrize('error, says', [(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 'not enough memory'),
                                         (MemoryError(), 'not enough memory'), (KeyError('x'), "KeyError: 'x'")])
def test_no_error_ends_in_a_traceback(bench, capsys, error, says):
    def fail(*args): raise error
    with patch.object(ev, 'load_inpainter', fail): assert run(bench) == 1
    assert capsys.readouterr().err == f'gla_evaluate: {says}' + (': take smaller photos, or end other programs\n' if 'memory' in says else '\n')

def test_a_photo_for_which_memory_does_not_last_is_named(bench, capsys):
    real = ev.mean_colour
    def sometimes(holed, mask, calls=[]):
        calls.append(0)
        if len(calls) == 5: raise MemoryError
        return real(holed, mask)
    with patch.object(ev, 'mean_colour', sometimes): assert run(bench, *FAST) == 1
    assert 'p1.png: not enough memory' in capsys.readouterr().err

def test_a_full_disk_ends_the_run_and_blames_no_photo(bench, capsys):
    def full(file): raise OSError(28, 'No space left on device')
    with patch.object(ev.os, 'fsync', full): assert run(bench, *FAST) == 1
    err = capsys.readouterr().err
    assert 'rows.csv cannot be written (No space left on device)' in err and 'p0.png' not in err

MEMORY = """
import resource, sys
from gla_inpaint.evaluate import evaluate
evaluate(sys.argv[1], sys.argv[2], sys.argv[3], baselines=True, without=('gla_inpaint','with-detail','one-pass','membrane','telea','navier-stokes','biharmonic'), n=int(sys.argv[4]))
print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
def test_memory_does_not_grow_with_the_photos(tmp_path):
    (tmp_path/'photos').mkdir()
    for i in range(24): picture(i, (400,400)).save(tmp_path/f'photos/{i}.png')
    make_holes(tmp_path/'holes', 24, (320,320))
    peak = [int(subprocess.run([sys.executable, '-W', 'ignore', '-c', MEMORY, *(str(tmp_path/x) for x in ('photos','holes',f'out{n}')), str(n)], capture_output=True, text=True, check=True).stdout.split()[-1]) for n in (4, 24)]
    assert peak[1] - peak[0] < 20_000, f'{peak} kB; 60 pictures more would be 70,000'

# --- methods and numbers

def test_the_membrane_follows_a_slope_and_never_leaves_the_range_of_its_rim():
    slope = torch.linspace(-1, 1, 64).expand(1, 3, 48, 64).clone()
    mask = torch.ones(1, 1, 48, 64); mask[...,10:30,20:50] = 0
    assert torch.allclose(ev.harmonic(slope*mask, mask), slope, atol=1e-5)
    noisy = torch.rand(1, 3, 48, 64)*2-1
    filled = ev.harmonic(noisy*mask, mask)[...,10:30,20:50]
    assert filled.std() < noisy.std()/2 and (filled.amax((2,3)) <= noisy.amax((2,3))).all()
    assert ev.find_methods(None, '', True)['membrane'][0].startswith('scipy ')

def test_known_pixels_stay_whatever_a_method_does():
    truth,mask = to_tensor(picture(1, (64,48)))[None],mask_from_hole(hole_of_ratio((48,64), (.2,.3), 0))[None]
    filled,scores = score(lambda h,m: torch.zeros_like(h), truth, mask)
    assert torch.equal(filled*mask, truth*mask) and math.isclose(scores['l1'], scores['hole_l1']*(1-mask).mean(), rel_tol=1e-4)
    seen = []
    score(lambda h,m: seen.append(h) or h, truth, mask)
    assert (seen[0][mask.expand_as(truth) == 0] == 0).all(), 'no method sees what lies under the hole'

def test_inpaint_is_one_pass_a_membrane_and_a_limit_at_the_size_of_training():
    torch.manual_seed(0)
    net = Inpainter(4).eval()
    net.size = 64
    truth,mask = to_tensor(picture(2, (64,64)))[None],mask_from_hole(hole_of_ratio((64,64), (.2,.3), 1))[None]
    used,once = (ev.score(f, truth, mask)[0] for f in (lambda h,m: ev.as_used(h, m, net), lambda h,m: limit_contrast(harmonic_blend(ev.one_pass(h, m, net), h, m), h, m).clamp(-1, 1)))
    assert (used-once).abs().max() < 1.5/127.5

def test_baselines_without_opencv(bench, capsys):
    with patch.dict(sys.modules, cv2=None):
        assert run(bench, '--baselines') == 1 and "gla_inpaint[baselines]" in capsys.readouterr().err
        assert run(bench, '--baselines', '--without', 'telea', '--without', 'navier-stokes') == 0
    assert set(table(bench).method) == set(ALL) - {'telea','navier-stokes'}

PATCHMATCH = '--baselines', 'patchmatch', '--without', 'gla_inpaint', '--without', 'with-detail', '--without', 'one-pass'

@pytest.mark.parametrize('has, says', [(None, "gla_inpaint[patchmatch]"), (SimpleNamespace(patchmatch_available=False), 'PyPatchMatch')])
def test_patchmatch_that_is_missing_or_broken(bench, capsys, has, says):
    with patch.dict(sys.modules, patchmatch=has): assert run(bench, *PATCHMATCH) == 1
    err = capsys.readouterr().err
    assert says in err and 'pip install' in err and err.count('\n') == 1 and not (bench/'out').exists()

def test_what_patchmatch_is_given(bench):
    seen,seeds = [],[]
    def fill(image, mask, patch_size):
        seen.append((image, mask, patch_size))
        return np.full_like(image, 7)
    it = SimpleNamespace(patchmatch_available=True, __version__='9', set_random_seed=seeds.append, inpaint=fill)
    with patch.dict(sys.modules, patchmatch=it): assert run(bench, *PATCHMATCH, '--n', '1') == 0
    rows = read_rows(bench/'out/rows.csv')
    assert set(rows.method) == {'patchmatch'} and set(rows.made_by) == {'patchmatch 9'} and set(seeds) == {0}
    assert all(i.dtype == np.uint8 and i.shape[:2] == h.shape and h.dtype == bool and (i[h] == 128).all() and r == 3 for i,h,r in seen)

def test_patchmatch_itself():
    pytest.importorskip('patchmatch')
    truth,mask = to_tensor(picture(2, (64,48)))[None],mask_from_hole(hole_of_ratio((48,64), (.2,.3), 1))[None]
    a,b,c = ev.patchmatch_fill(truth*mask, mask),ev.patchmatch_fill(truth*mask, mask),ev.patchmatch_fill(truth*mask + .7*(1-mask), mask)
    assert torch.equal(a, b) and torch.equal(a, c), 'one seed, one picture, and what lies under the hole is not seen'
    assert torch.equal(a*mask, truth*mask) and (a-truth).abs().mean() < (truth*mask-truth).abs().mean()

def test_a_table_of_something_else_is_kept(bench, capsys):
    (bench/'out').mkdir(); (bench/'out/table.csv').write_text('mine')
    assert run(bench, *FAST) == 1 and 'out holds table.csv, but no rows.csv: give another folder' in capsys.readouterr().err
    assert (bench/'out/table.csv').read_text() == 'mine' and len(list((bench/'out').iterdir())) == 1

def test_holes_are_no_larger_than_memory(tmp_path, capsys):
    with pytest.raises(SystemExit): main([str(tmp_path), '--make-holes', str(tmp_path/'h'), '--size', '9999999x9999999'])
    assert '9999999x9999999 is too large' in capsys.readouterr().err

@pytest.mark.parametrize('key', ['n', 'size', 'seed', 'holes'])
def test_a_manifest_that_lacks_something_is_damaged(bench, key):
    path = bench/'holes/manifest.json'
    path.write_text(json.dumps({k: v for k,v in json.loads(path.read_text()).items() if k != key}))
    with pytest.raises(InpaintError, match='manifest.json is damaged'): load_holes(bench/'holes')

def test_a_perfect_fill_is_infinite_and_the_files_stay_valid(bench):
    Image.new('RGB', (64,48), (9,9,9)).save(bench/'photos/p0.png')
    assert run(bench, *FAST) == 0
    psnr = table(bench).query("region == 'whole' and metric == 'PSNR' and method == 'mean-colour'")
    assert np.isinf(psnr['mean']).all() and np.isfinite(psnr.low).all()
    def refuse(x): raise ValueError(x)
    got = json.loads((bench/'out/table.json').read_text(), parse_constant=refuse)
    assert got['weights'] == ev.file_sha(bench/'w.safetensors') and got['manifest_sha256'] == ev.file_sha(bench/'holes/manifest.json') and got['seed'] == 3
    assert '| PSNR | 20-30 % | ' in (bench/'out/table.md').read_text()
    with Image.open(bench/'out/examples.png') as im: assert np.asarray(im.convert('L')).std() > 10

def test_the_table_holds_means_of_the_rows(bench):
    assert run(bench, '--baselines') == 0
    rows,t = read_rows(bench/'out/rows.csv'),table(bench)
    assert set(t.method) == set(ALL) and set(t.region) == {'whole','hole','time'} and set(t.metric) == {'L1','L2','SSIM','PSNR','seconds'}
    for r in t.itertuples():
        column = ('hole_' if r.region == 'hole' else '') + r.metric.lower()
        assert math.isclose(rows[(rows.bucket == r.bucket) & (rows.method == r.method)][column].mean(), r.mean, rel_tol=1e-3, abs_tol=1e-4) and r.low <= r.mean <= r.high

@pytest.mark.parametrize('dataset, names, n', [('places365', [f'val_256/Places365_val_{i:08}.jpg' for i in range(1, 1011)], 1000), ('celeba-hq', [f'{i}.jpg' for i in range(3004)], 3000)])
def test_a_dataset_by_its_root(bench, capsys, dataset, names, n):
    root = bench/'root'
    for f in (root/x for x in names): f.parent.mkdir(parents=True, exist_ok=True); f.touch()
    picked = {}
    with patch.object(ev, 'evaluate', lambda photos, *a: picked.update(photos=photos) or (summarise(pd.DataFrame([dict.fromkeys(ev._COLUMNS, 1) | dict(method='telea', bucket='20-30')])), {})):
        seed = ('--seed', '4') if dataset == 'places365' else ()
        assert main([str(root), '--dataset', dataset, '--holes', str(bench/'holes'), *seed]) == 0
    assert len(picked['photos']) == n and (dataset != 'celeba-hq' or [p.stem for p in picked['photos'][:2]] == ['4','5'])
    (bench/'photos/beach.jpg').touch()
    assert main([str(bench/'photos'), '--dataset', dataset, '--holes', str(bench/'holes')]) == 1 and 'Expected is a folder with' in capsys.readouterr().err

# --- LPIPS and FID, from weight files

def test_without_weight_files_one_line_says_so(bench, capsys):
    assert run(bench, *FAST) == 0
    said = [l for l in capsys.readouterr().out.splitlines() if 'LPIPS' in l or 'FID' in l]
    assert len(said) == 1 and 'left out' in said[0]

@pytest.fixture(scope='module')
def alexnet(tmp_path_factory):
    from torchvision.models import alexnet
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('w')/'alexnet.pth'
    torch.save(alexnet(weights=None).state_dict(), path)
    return path

def test_lpips_from_a_file(bench, alexnet, capsys):
    home = torch.hub.get_dir()
    _,lpips = local_lpips(alexnet)
    assert torch.hub.get_dir() == home
    assert "not torchvision's" in capsys.readouterr().err
    x = to_tensor(picture(0, (64,64)))[None]
    near,far = lpips(x, x+.05*torch.randn_like(x)),lpips(x, x+.5*torch.randn_like(x))
    assert lpips(x, x) == 0 < near < far
    make_holes(bench/'big', 2, (64,64))
    args = [str(bench/'photos'), '--holes', str(bench/'big'), '--out', str(bench/'out'), *FAST]
    assert main(args) == 0 and main([*args, '--lpips', str(alexnet)]) == 0
    assert 'left out for want of local weights: FID' in capsys.readouterr().out
    assert table(bench).query("metric == 'LPIPS'").groupby('method').size().eq(3).all()

def test_fid_from_a_file(bench, tmp_path, capsys):
    pytest.importorskip('torch_fidelity')
    from torch_fidelity import feature_extractor_inceptionv3 as inception
    with patch.object(inception, 'load_state_dict_from_url', lambda *a, **k: {}), patch.object(inception.FeatureExtractorInceptionV3, 'load_state_dict', lambda *a: None):
        net = inception.FeatureExtractorInceptionV3('inception-v3-compat', ['2048'])
    torch.save(net.state_dict(), tmp_path/'inception.pth')
    args = (*FAST, '--without', 'navier-stokes', '--without', 'telea', '--n', '2', '--fid', tmp_path/'inception.pth')
    assert run(bench, *args) == 0
    assert 'FID with n = 2: below 10,000' in capsys.readouterr().err
    fid = table(bench).query("metric == 'FID'")
    assert len(fid) == 3 and (fid['mean'] > -1e-3).all() and fid.low.isna().all() and '±nan' not in (bench/'out/table.md').read_text()
    files = sorted((bench/'out/features').iterdir())
    assert len(files) == 2*3*2                      # two photos, three holes: one method and the truth
    files[0].unlink()
    assert run(bench, *args) == 0
    pd.testing.assert_frame_equal(table(bench).query("metric == 'FID'"), fid)

def test_fid_of_streams():
    rng = np.random.default_rng(0)
    a,b = rng.normal(size=(50,3)).astype(np.float32),rng.normal(2, 1, size=(50,3)).astype(np.float32)
    assert abs(fid_of(a, a)) < 1e-3 and math.isclose(fid_of(iter(a), iter(b)), 12, abs_tol=3)

@pytest.mark.parametrize('load', [local_lpips, local_inception])
def test_other_files_are_no_weights(tmp_path, load):
    (tmp_path/'text.pth').write_text('hello')
    torch.save({'a': torch.zeros(1)}, tmp_path/'other.pth')
    class Evil:
        def __reduce__(self): return os.mkdir, (str(tmp_path/'ran'),)
    torch.save(Evil(), tmp_path/'evil.pth')
    for name in ('text', 'other', 'evil'): pytest.raises(InpaintError, load, tmp_path/f'{name}.pth')
    with pytest.raises(FileNotFoundError): load(tmp_path/'nowhere.pth')
    assert not (tmp_path/'ran').exists()

def test_a_photo_that_changes_under_its_name(tmp_path):
    "In one process, as in a notebook: the pixels belong to the bytes."
    (tmp_path/'photos').mkdir()
    make_holes(tmp_path/'holes', 1, (48,64))
    args = dict(baselines=True, without=[m for m in METHODS if m != 'mean-colour'])
    for seed in (0, 1):
        picture(seed).save(tmp_path/'photos/p.png')
        evaluate(tmp_path/'photos', tmp_path/'holes', tmp_path/'out', **args)
    ev._load_truth.cache_clear()
    evaluate(tmp_path/'photos', tmp_path/'holes', tmp_path/'fresh', **args)
    a,b = (pd.read_csv(tmp_path/o/'table.csv').query("region != 'time'") for o in ('out', 'fresh'))
    pd.testing.assert_frame_equal(a, b)
