"""Train the full model and four without a part (Table 5, Figures 9 and 10), three seeds each, equal budget; write results/ablations.csv and .jpg.

    python nbs/paper/ablations.py PHOTOS VAL RUNS

trains on the folder PHOTOS and measures on the folder VAL. Runs are kept in RUNS: started again, it goes on where it was. The stored results took 95 minutes of training in one thread of a busy machine.
"""
import argparse, csv, platform, subprocess, time
from pathlib import Path

import matplotlib.pyplot as plt, numpy as np, torch
from gla_inpaint import train
from gla_inpaint.data import HELD_OUT, InpaintDataset, find_photos, sample_photos, show_rows
from gla_inpaint.generator import composite
from gla_inpaint.weights import load_inpainter
from gla_inpaint.metrics import inpaint_metrics

HERE = Path(__file__).parent/'results'
VARIANTS,SEEDS,SIZE = ('full', 'mpga', 'gla', 'lorentz', 'adversarial'),(0, 1, 2),64
SETTINGS = f'--size {SIZE} --bs 8 --width 16 --epochs 3 --lr 5e-4 --save-every 100'.split()


def run_of(photos, runs, variant, seed):
    "Train one variant, or go on with it, or find it done"
    run = runs/f'{variant}-{seed}'
    without = [] if variant == 'full' else ['--without', variant]
    args = ['--resume', str(run)] if (run/'settings.json').exists() else [str(photos), '--out', str(run), '--seed', str(seed), *SETTINGS, *without]
    if train.main(args): raise SystemExit(f'{run} failed')
    return run


def fill(net, dataset, i):
    "One photo of a dataset: holed, mask, truth, coarse, result, each [1,C,H,W]"
    holed,mask,truth = (t[None] for t in dataset[i])
    with torch.inference_mode(): coarse,refined = net(holed, mask)
    return holed,mask,truth,composite(coarse, holed, mask),composite(refined, holed, mask)


def measure(net, val):
    "Means over the photos of a folder, for each bucket of hole ratios"
    photos = find_photos(val)
    for lo,hi in train.BUCKETS:
        data,rows = InpaintDataset(photos, SIZE, (lo, hi), train=False),[]
        for i in range(len(data)):
            _,mask,truth,_,result = fill(net, data, i)
            rows.append({k: v.item() for k,v in inpaint_metrics(result, truth, mask).items()})
        yield dict(bucket=f'{lo*100:.0f}-{hi*100:.0f}', photos=len(rows), **{k: round(float(np.mean([r[k] for r in rows])), 4) for k in rows[0]})


def picture(runs):
    "Figures 9 and 10 at this scale: the held-out embedded photos, filled by the first seed of each variant"
    photos = sample_photos()
    data,nets = InpaintDataset([photos[n] for n in HELD_OUT], SIZE, (.25, .35), train=False),{v: load_inpainter(runs/f'{v}-0/last.safetensors', 'cpu') for v in VARIANTS}
    rows = []
    for i in range(len(data)):
        filled = [fill(nets[v], data, i) for v in VARIANTS]
        rows.append([filled[0][0][0], *(f[4][0] for f in filled), filled[0][2][0]])
    fig = show_rows(rows, ('holed', 'full', *(f'without {v}' for v in VARIANTS[1:]), 'truth'))
    fig.savefig(HERE/'ablations.jpg', dpi=110)
    plt.close(fig)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('photos', 'val', 'runs'): p.add_argument(name, type=Path)
    args = p.parse_args()
    about = dict(date=time.strftime('%Y-%m-%d'), hardware=f'{platform.machine()}, {torch.get_num_threads()} thread(s), CPU', torch=torch.__version__,
                 commit=subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, cwd=HERE.parent).stdout.strip(), settings=' '.join(SETTINGS))
    HERE.mkdir(exist_ok=True)
    rows = []
    for seed in SEEDS:
        for variant in VARIANTS:
            run = run_of(args.photos, args.runs, variant, seed)
            steps = train.read_checkpoint(run/'checkpoints')['train_iter']
            net = load_inpainter(run/'last.safetensors', 'cpu')
            rows += [dict(without='' if variant == 'full' else variant, seed=seed, steps=steps, **r, **about) for r in measure(net, args.val)]
            train.write_csv(HERE/'ablations.csv', rows)
            print(variant, seed, 'measured', flush=True)
    picture(args.runs)


if __name__ == '__main__': main()
