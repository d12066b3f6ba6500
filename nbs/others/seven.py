"""The seven other methods and ours, trained alike and measured alike: the numbers of seven.ipynb.

    python nbs/others/seven.py PHOTOS VAL RUNS

trains on the folder PHOTOS and measures on the folder VAL, with one set of holes. There are six tables:

    A         equal parameters, equal steps, reconstruction alone
    A+D       the same with the discriminator
    B         equal parameters, equal minutes of one core (its own, whatever else runs), reconstruction alone
    B+D       the same with the discriminator
    own       as A, with the method's further losses
    skeleton  as A, each idea in our own network (skeleton.py)

Runs are kept in RUNS. Started again, it goes on where it was: what is in seven.csv is not done again. All networks of
one seed come before the next seed, so that what is there compares at any time.

    python nbs/others/seven.py --cost [--results FOLDER]

needs no photos and writes seven_cost.csv: parameters, multiplications, milliseconds, memory. With --picture after
PHOTOS VAL RUNS it draws seven.jpg from the runs of table A.
"""
import argparse, csv, os, platform, subprocess, sys, time
from pathlib import Path

import numpy as np, torch
from PIL import Image
from gla_inpaint import train
from gla_inpaint.data import HELD_OUT, crop_photo, find_photos, load_photo, sample_photos, show_rows, to_tensor
from gla_inpaint.evaluate import find_methods, load_holes, make_holes, one_pass, score
from gla_inpaint.generator import composite
from gla_inpaint.holes import read_hole
from gla_inpaint.masks import hole_of_ratio, mask_from_hole
from gla_inpaint.nets import NETS, net_class
from gla_inpaint.weights import InpaintError, load_inpainter

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
ALL = list(NETS)
from skeleton import SKELETONS

TABLES,SEEDS,HOLES = ('A', 'A+D', 'B', 'B+D', 'own', 'skeleton'),(0, 1, 2),100
MARKS = 'mean-colour', 'membrane', 'telea', 'navier-stokes', 'patchmatch'
METRICS = ('l1', 'l2', 'ssim', 'psnr', 'hole_l1', 'hole_l2', 'hole_ssim', 'hole_psnr')


class Clock(train.Clock):
    "Counts the minutes in which a core has worked for us, so that other programs change nothing."
    def before_fit(self): self.began = time.process_time()
    def look(self):
        self.spent = self.before+(time.process_time()-self.began)/60
        if self.minutes: self.learn.pct_train = min(1., self.spent/self.minutes)


def nets_of(table):
    "The networks of a table"
    if table == 'own': return [n for n in ALL if net_class(n).extras]
    return SKELETONS if table == 'skeleton' else ALL


def photos_for(photos, runs, n):
    "A folder of links to n photos, evenly from the whole list"
    files,folder = find_photos(photos),runs/f'photos-{n}'
    if folder.is_dir(): return folder
    if n > len(files): raise SystemExit(f'{photos} has {len(files)} photos, and {n} are needed')
    new = folder.with_suffix('.new')
    new.mkdir(parents=True, exist_ok=True)
    for i in np.linspace(0, len(files)-1, n).astype(int):
        link = new/f'{i:05}{files[i].suffix}'
        if not link.is_symlink(): link.symlink_to(files[i].resolve())
    return new.rename(folder)


def settings_of(args, table, net, seed):
    "What `gla_train` is given, but for the folders"
    s = dict(net=net, width=args.budget, size=args.size, bs=args.bs, lr=args.lr, seed=seed, save_every=100)
    s |= dict(minutes=args.minutes) if table.startswith('B') else dict(epochs=args.passes)
    if table == 'own': s['own'] = True
    if not table.endswith('+D'): s['without'] = ['adversarial']
    return s


def flags(settings):
    "The same for the command line"
    for k,v in settings.items():
        yield '--'+k.replace('_', '-')
        if v is not True: yield from map(str, v if isinstance(v, list) else [v])


def run_of(args, photos, settings, table):
    "Train one network, or go on with it, or find it done: its folder"
    run = args.runs/f"{table}-{settings['net']}-{settings['seed']}"
    again = (run/'settings.json').exists()
    if again:
        has = train.read_settings(run)
        if other := [k for k,v in settings.items() if has[k] != v]:
            raise SystemExit(f'{run} was begun with another {other[0]}: take another RUNS, or remove it')
    new = [str(photos), '--out', str(run), '--valid', str(args.val), *flags(settings)]
    return None if train.main(['--resume', str(run)] if again else new) else run


def pairs(val, holes):
    "For each bucket: its name, and (truth, mask) of each photo of a folder, [1,C,H,W]"
    manifest = load_holes(holes)
    files = find_photos(val)[:manifest['n']]
    truths = [to_tensor(crop_photo(load_photo(f), manifest['size']))[None] for f in files]
    for bucket,entries in manifest['holes'].items():
        hole = (Image.open(holes/e['file']) for e in entries)
        yield bucket,[(t, mask_from_hole(read_hole(h, h.size))[None]) for t,h in zip(truths, hole)]


def measure(fill, buckets):
    "Means over the photos of each bucket"
    for bucket,data in buckets:
        rows = [score(fill, *pair)[1] for pair in data]
        yield dict(bucket=bucket, photos=len(rows), **{k: round(float(np.mean([r[k] for r in rows])), 4) for k in METRICS})


def read(path):
    "The rows of a table, or none"
    if not path.exists(): return []
    with path.open(newline='', encoding='utf-8') as f: return list(csv.DictReader(f))


def about():
    "What numbers may depend on"
    commit = ['git', 'rev-parse', '--short', 'HEAD']
    return dict(hardware=f'{platform.machine()}, {torch.get_num_threads()} thread(s), CPU', torch=torch.__version__,
                commit=subprocess.run(commit, capture_output=True, text=True, cwd=HERE).stdout.strip(), date=time.strftime('%Y-%m-%d'))


def add(path, rows):
    "Rows to the end of a table, whole or not at all"
    path.parent.mkdir(parents=True, exist_ok=True)
    train.write_csv(path, read(path)+rows)


def without_network(args, buckets, path):
    "What stands beside the networks as a mark: methods that learn nothing"
    done = {r['net'] for r in read(path) if r['table'] == 'none'}
    for name in MARKS:
        if name in done: continue
        try: methods = find_methods(torch.nn.Identity(), '-', (name,), ('gla_inpaint', 'with-detail', 'one-pass'))
        except InpaintError as e: print(f'{name} is left out: {e}', flush=True); continue
        rows = measure(methods[name][1], buckets)
        add(path, [dict(table='none', net=name, seed='', budget='', width='', steps=0, minutes=0, **r,
                        settings=f'size {args.size}', **about()) for r in rows])


def one(args, photos, buckets, table, net, seed, path):
    "Train and measure one network, unless its rows are there"
    settings = settings_of(args, table, net, seed)
    text = ' '.join(flags(settings))
    if any(r['settings'] == text and r['table'] == table for r in read(path)): return
    run = run_of(args, photos, settings, table)
    if not run: return print(f'{table} {net} {seed} failed: the others go on', flush=True)
    state,model = train.read_checkpoint(run/'checkpoints'),load_inpainter(run/'last.safetensors', 'cpu')
    key = dict(table=table, net=net, seed=seed, budget=args.budget, width=model.settings['width'],
               steps=state['train_iter'], minutes=round(state['spent'], 2))
    rows = measure(lambda h,m: one_pass(h, m, model), buckets)
    add(path, [key | r | dict(settings=text) | about() for r in rows])
    print(f'{table} {net} {seed} measured', flush=True)


def compare(args):
    "All runs of all tables"
    path,train.Clock = args.results/'seven.csv',Clock
    n = args.steps*args.bs
    args.passes = -(-n//len(find_photos(args.photos)))
    if n%(args.passes*args.bs): raise SystemExit(f'{args.steps} steps are not {args.passes} equal passes: take another --steps')
    photos = photos_for(args.photos, args.runs, n//args.passes)
    make_holes(args.runs/'holes', HOLES, args.size, seed=0)
    buckets = list(pairs(args.val, args.runs/'holes'))
    without_network(args, buckets, path)
    for seed in args.seeds:
        for table in args.tables:
            for net in nets_of(table):
                if not args.nets or net in args.nets: one(args, photos, buckets, table, net, seed, path)


def filled(nets, photo, seed, size):
    "A row of the picture: holed, what each network makes of it, ours twice, truth; and where to look closer"
    truth = to_tensor(crop_photo(photo, (size, size)))[None]
    hole = hole_of_ratio((size, size), (.25, .35), seed)
    mask = mask_from_hole(hole)[None]
    holed,row = truth*mask,[truth*mask]
    with torch.inference_mode():
        for name,net in nets.items():
            images = net(holed, mask)
            row += [composite(i, holed, mask) for i in (images if name == 'gla' else images[1:])]
    # the square with most hole in it
    seen = torch.nn.functional.avg_pool2d(1-mask, size//3, 1)[0,0]
    y,x = divmod(seen.argmax().item(), seen.shape[1])
    return [i[0] for i in (*row, truth)],(slice(None), slice(y, y+size//3), slice(x, x+size//3))


def picture(args):
    "As Figures 6 to 8: the photographs of the package that nothing is trained on, by the first seed of table A"
    order = [n for n in ALL if n != 'gla']+['gla']
    runs = {n: args.runs/f'A-{n}-0' for n in order}
    over = lambda run: (train.read_checkpoint(run/'checkpoints') or {}).get('finished')
    nets = {n: load_inpainter(run/'last.safetensors', 'cpu') for n,run in runs.items() if over(run)}
    rows,photos = [],sample_photos()
    for seed,name in enumerate(HELD_OUT, 11):
        row,zoom = filled(nets, photos[name], seed, args.size)
        rows += [row, [i[zoom] for i in row]]
    names = [n for n in nets if n != 'gla']
    fig = show_rows(rows, ('holed', *names, *(['gla, coarse', 'gla'] if 'gla' in nets else []), 'truth'), size=1.3)
    args.results.mkdir(parents=True, exist_ok=True)
    fig.savefig(args.results/'seven.jpg', dpi=110)


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('photos', 'val', 'runs'): p.add_argument(name, type=Path, nargs='?')
    p.add_argument('--cost', action='store_true', help='measure what the networks cost, and nothing else')
    p.add_argument('--picture', action='store_true', help="draw seven.jpg from the runs, and nothing else")
    p.add_argument('--budget', type=int, default=16, help='width of the gla that has as many parameters')
    for name,usual in dict(size=64, bs=4, steps=1000).items(): p.add_argument(f'--{name}', type=int, default=usual)
    p.add_argument('--minutes', type=float, default=3., help='of a run of table B')
    p.add_argument('--lr', type=float, default=5e-4)
    p.add_argument('--tables', nargs='+', choices=TABLES, default=TABLES)
    p.add_argument('--nets', nargs='+', choices=[*ALL, *SKELETONS], help='these alone')
    p.add_argument('--seeds', nargs='+', type=int, default=SEEDS)
    p.add_argument('--core', type=int, help='compute on this core alone')
    p.add_argument('--results', type=Path, default=HERE/'results', help='folder of seven.csv')
    args = p.parse_args(argv)
    if args.core is not None: os.sched_setaffinity(0, {args.core})
    torch.set_num_threads(1)
    if args.cost:
        from seven_cost import write_costs
        return write_costs(args, ALL, about())
    if not args.runs: p.error('give PHOTOS, VAL and RUNS')
    (picture if args.picture else compare)(args)


if __name__ == '__main__': main()
