"""A discriminator that falls silent, and what keeps it speaking: the runs of going_wrong.ipynb.

    python nbs/paper/silence.py PHOTOS VAL [NAME ...]

Each run begins with the weights of the package (the stored ones with those of November 25, 2026) and a new discriminator, and trains 200 steps of both on
128 pixel crops of the folder PHOTOS. Writes a row for every tenth step into results/silence.csv; what the
generator then makes of the first photos of VAL at 256x256 stands in results/silence_ends.csv, and what it
makes of two embedded photos in results/silence_NAME.jpg.
Started again, it goes on with the runs that are missing.
"""
import argparse, csv, platform, subprocess, time
from pathlib import Path

import numpy as np, torch
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from PIL import Image
from torch import nn
from candidates import energy
from gla_inpaint.data import HELD_OUT, InpaintDataset, find_photos, make_loaders, sample_photos
from gla_inpaint.generator import composite
from gla_inpaint.weights import load_inpainter
from gla_inpaint.learner import get_learner
from gla_inpaint.metrics import inpaint_metrics
from gla_inpaint.train import write_csv

RESULTS = Path(__file__).parent/'results'
SIZE,BATCH,STEPS,WARM,HELD = 128,4,200,60,20


class Flat(nn.Module):
    "One score for the whole image: a linear layer over the map (the released code's paper branch)"
    def __init__(self, channels, side):
        super().__init__()
        self.linear = nn.Linear(channels*side*side, 1)
    def forward(self, x): return self.linear(x.flatten(1))[...,None,None]


def one_score(d, channels): d.head[1] = Flat(channels, SIZE//32)
def each_element(d, channels): d.head[1] = nn.Identity()
def each_place(d, channels): pass


# weight of the adversarial part, G's rate, D's rate, warm-up, Lorentzian, D's steps, head
RUNS = dict(paper=(1., 1e-4, 1e-4, 0, True, 1, each_place),
            light=(.1, 1e-4, 1e-4, WARM, False, 1, each_place),
            fast_d=(.1, 3e-5, 4e-4, WARM, False, 1, each_place),
            fast_d_light=(.02, 3e-5, 4e-4, WARM, False, 1, each_place),
            lorentzian=(.1, 3e-5, 4e-4, WARM, True, 1, each_place),
            slow_g=(.1, 1e-5, 4e-4, WARM, False, 1, each_place),
            image=(.1, 3e-5, 4e-4, WARM, False, 1, one_score),
            element=(.1, 3e-5, 4e-4, WARM, False, 1, each_element),
            two_steps=(.1, 3e-5, 4e-4, WARM, False, 2, each_place))


class Note(Callback):
    "A row for every tenth step: means of the verdicts since the last"
    order = 98
    def before_fit(self): self.rows = []
    def after_batch(self):
        if not self.training or (self.iter+1)%10: return
        parts = self.loss_log.parts
        last = {k: torch.stack(list(parts[k][-10:])).float().mean().item() for k in ('gap', 'told_apart', 'd_loss', 'recon')}
        self.rows.append(dict(step=self.iter+1) | {k: round(v, 4) for k,v in last.items()})


def train(photos, seed, weight, lr, lr_d, warm, lorentz, d_steps, head):
    "One run, in bfloat16"
    n = BATCH*(STEPS+warm)
    some = [photos[i] for i in np.random.default_rng(seed).permutation(n)%len(photos)]
    dls = make_loaders(some, some[:BATCH], SIZE, BATCH, seed=seed, num_workers=0)
    net,note = load_inpainter(device='cpu'),Note()
    set_seed(seed)
    learn = get_learner(dls, net.width, lorentz=lorentz, lr=lr, lr_d=lr_d, adv_weight=weight, d_steps=d_steps,
                        d_warmup=warm, metrics=[], cbs=[note])
    head(learn.rival.net, 8*net.width)
    learn.model = net.train()
    with learn.no_bar(), learn.no_logging(): learn.to_bf16().fit(1, lr)
    return learn.model.eval(),note.rows


@torch.no_grad()
def measure(net, held):
    "PSNR and texture of the fills, holes of 20 to 50 percent"
    samples,scores,sums = InpaintDataset(held, 256, (.2, .5), train=False),[],np.zeros(2)
    for i in range(len(samples)):
        holed,mask,truth = (t[None] for t in samples[i])
        result = composite(net(holed, mask)[1], holed, mask)
        sums += energy(result, mask),energy(truth, mask)
        scores.append(inpaint_metrics(result, truth, mask)['psnr'].item())
    return dict(psnr=round(float(np.mean(scores)), 3), texture=round(sums[0]/sums[1], 3))


@torch.no_grad()
def strip(net, path):
    "The held-out embedded photos, filled"
    photos = sample_photos()
    samples = InpaintDataset([photos[n] for n in HELD_OUT], 256, (.2, .25), seed=4, train=False)
    fills = [composite(net(holed[None], mask[None])[1], holed, mask)[0] for holed,mask,_ in (samples[i] for i in range(len(samples)))]
    picture = ((torch.cat(fills, 2)+1)*127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(path, quality=92)


def read(path): return list(csv.DictReader(path.open())) if path.exists() else []


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('photos', 'val'): p.add_argument(name, type=Path)
    p.add_argument('names', nargs='*', help=f"which runs: {', '.join(RUNS)} (all)")
    args = p.parse_args()
    photos,held = find_photos(args.photos),find_photos(args.val)[:HELD]
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, cwd=RESULTS).stdout.strip()
    about = dict(date=time.strftime('%Y-%m-%d'), hardware=f'{platform.machine()}, {torch.get_num_threads()} thread(s), CPU',
                 torch=torch.__version__, commit=commit)
    steps,ends = read(RESULTS/'silence.csv'),read(RESULTS/'silence_ends.csv')
    if not ends:
        net = load_inpainter(device='cpu')
        ends.append(dict(run='before') | measure(net, held) | about)
        strip(net, RESULTS/'silence_before.jpg')
    for name in args.names or RUNS:
        if name in {r['run'] for r in ends}: continue
        net,rows = train(photos, 0, *RUNS[name])
        steps += [dict(run=name) | r for r in rows]
        ends.append(dict(run=name) | measure(net, held) | about)
        strip(net, RESULTS/f'silence_{name}.jpg')
        write_csv(RESULTS/'silence.csv', steps)
        write_csv(RESULTS/'silence_ends.csv', ends)
        print(name, [r['gap'] for r in rows[::8]], rows[-1], ends[-1], flush=True)


if __name__ == '__main__': main()
