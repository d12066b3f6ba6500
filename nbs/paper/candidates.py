"""Which patches GLA may paste, and how sharply: the runs of attention.ipynb, three seeds each.

    python nbs/paper/candidates.py PHOTOS VAL

Each run begins with the weights of the package and trains 200 steps on crops of the folder PHOTOS, on
reconstruction alone. It then fills the first photos of the folder VAL at 256x256. Writes a row for each
run into results/candidates.csv. Started again, it goes on with the runs that are missing.
"""
import argparse, csv, platform, subprocess, time
from pathlib import Path

import numpy as np, torch
from fastai.torch_core import set_seed
from torch import nn
from gla_inpaint.data import InpaintDataset, find_photos, make_loaders
from gla_inpaint.generator import composite
from gla_inpaint.gla import GLA
from gla_inpaint.weights import load_inpainter
from gla_inpaint.learner import get_learner
from gla_inpaint.metrics import inpaint_metrics
from gla_inpaint.mpga import mask_like
from gla_inpaint.train import write_csv

TABLE,SEEDS = Path(__file__).parent/'results/candidates.csv',(0, 1, 2)
SIZE,BATCH,STEPS,LR,HELD = 128,4,200,2e-4,24
VARIANTS = [('all', 10.), ('known', 10.), ('known', 50.), ('known', 'learned'), ('known', 30.),
            ('partly', 10.)]


class Learned(GLA):
    "Begins with a scale of 10. One step of Adam changes it by a hundredth at most."
    scale = property(lambda self: 10*(self.log_scale*.01/LR).exp(), lambda self, value: None)


def prepare(candidates, scale):
    "The package's network, its GLA set as wanted"
    net = load_inpainter(device='cpu')
    gla = net.refine.attention
    gla.candidates = candidates
    if scale == 'learned':
        gla.__class__,gla.log_scale = Learned,nn.Parameter(torch.tensor(0.))
    else: gla.scale = scale
    return net


def train(net, photos, seed):
    "Steps on reconstruction, in bfloat16; the same photos and holes for each variant"
    some = [photos[i] for i in np.random.default_rng(seed).permutation(len(photos))[:BATCH*STEPS]]
    dls = make_loaders(some, some[:BATCH], SIZE, BATCH, seed=seed, num_workers=0)
    learn = get_learner(dls, net.width, lr=LR, adversarial=False, metrics=[])
    learn.model = net.train()
    set_seed(seed)
    with learn.no_bar(), learn.no_logging(): learn.to_bf16().fit_flat_cos(1, LR)
    return learn.model.eval()


def energy(img, mask):
    "Sum of the differences between neighbours inside the hole, of the grey picture"
    grey,hole = img.mean(1),mask[:,0] == 0
    dy,dx = grey.diff(dim=1).abs()[:,:,:-1],grey.diff(dim=2).abs()[:,:-1]
    inside = hole[:,:-1,:-1] & hole[:,1:,1:]
    return ((dy+dx)*inside).sum().item()


def shares(gla, psi, mask):
    "Of what the hole's places take: from known patches, from themselves; and of how many patches"
    m = mask_like(mask, psi)
    kappa = gla(psi, m, attention=True)[1]
    wanted,gla.candidates = gla.candidates,'known'
    known = gla.patches(psi, m)[-1]
    gla.candidates = wanted
    hole = (m[:,0,::gla.rate,::gla.rate] == 0).flatten(1)
    used = torch.special.entr(kappa[hole]).sum(-1).exp()
    return dict(known=(kappa*known[:,None]).sum(-1)[hole].mean().item(),
                own=kappa.diagonal(dim1=1, dim2=2)[hole].mean().item(), used=used.mean().item())


@torch.no_grad()
def measure(net, held):
    "Means over the held photos, with holes of 20 to 50 percent"
    rows,sums,gla,given = [],np.zeros(2),net.refine.attention,{}
    hook = gla.register_forward_pre_hook(lambda _, args: given.update(args=args))
    samples = InpaintDataset(held, 256, (.2, .5), train=False)
    for i in range(len(samples)):
        holed,mask,truth = (t[None] for t in samples[i])
        result = composite(net(holed, mask)[1], holed, mask)
        sums += energy(result, mask),energy(truth, mask)
        scores = {k: v.item() for k,v in inpaint_metrics(result, truth, mask).items()}
        rows.append(scores | shares(gla, *given['args']))
    hook.remove()
    return {k: float(np.mean([r[k] for r in rows])) for k in rows[0]} | dict(texture=sums[0]/sums[1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('photos', 'val'): p.add_argument(name, type=Path)
    args = p.parse_args()
    photos,held = find_photos(args.photos),find_photos(args.val)[:HELD]
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True,
                            cwd=TABLE.parent).stdout.strip()
    about = dict(steps=STEPS, size=SIZE, batch=BATCH, lr=LR, photos=len(photos), held=len(held),
                 date=time.strftime('%Y-%m-%d'), torch=torch.__version__, commit=commit,
                 hardware=f'{platform.machine()}, {torch.get_num_threads()} thread(s), CPU')
    rows = list(csv.DictReader(TABLE.open())) if TABLE.exists() else []
    done = {(r['candidates'], r['scale'], int(r['seed'])) for r in rows}
    for seed in SEEDS:
        for candidates,scale in VARIANTS:
            if (candidates, str(scale), seed) in done: continue
            began,net = time.process_time(),prepare(candidates, scale)
            numbers = measure(train(net, photos, seed), held)
            ends = float(net.refine.attention.scale)
            rows.append(dict(candidates=candidates, scale=scale, seed=seed, scale_at_the_end=round(ends, 2),
                             **{k: round(v, 4) for k,v in numbers.items()},
                             seconds=round(time.process_time()-began), **about))
            write_csv(TABLE, rows)
            print(candidates, scale, seed, {k: round(numbers[k], 3) for k in ('psnr', 'texture', 'known', 'own', 'used')},
                  round(ends, 2), rows[-1]['seconds'], 's', flush=True)


if __name__ == '__main__': main()
