"What the networks cost: parameters, multiplications, time and memory. `seven.py --cost` writes it to results/seven_cost.csv."
import time
from collections import defaultdict
from statistics import median

import torch
from fastai.callback.core import Callback
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from gla_inpaint.data import make_loaders, sample_photos
from gla_inpaint.discriminator import Discriminator
from gla_inpaint.learner import get_learner
from gla_inpaint.nets import count_parameters, make_net, width_for
from gla_inpaint.train import write_csv

ROUNDS,SIZES = 4,(64, 256, 512)


class Stopwatch(Callback):
    "Processor time of each training step, without loading photos, in milliseconds"
    order = 100
    def __init__(self): self.took = []
    def before_batch(self): self.began = time.process_time()
    def after_batch(self):
        if self.training: self.took.append(1000*(time.process_time()-self.began))


def photo_of(size, bs=1):
    "Noise, with a square hole of a quarter: holed, mask, truth"
    torch.manual_seed(42)
    truth,mask = torch.rand(bs, 3, size, size)*2-1,torch.ones(bs, 1, size, size)
    mask[...,size//4:3*size//4,size//4:3*size//4] = 0
    return truth*mask,mask,truth


def network(name, budget): return make_net(name, dict(width=width_for(name, budget)))


def learner(name, args, adversarial):
    "Three batches of the embedded photos"
    photos = list(sample_photos().values())
    dls = make_loaders(photos*(3*args.bs//6 + 1), photos[:1], args.size, args.bs, num_workers=0)
    return get_learner(dls, args.budget, net=network(name, args.budget), adversarial=adversarial, metrics=[], cbs=[Stopwatch()])


def step_times(names, args):
    "Milliseconds of a step, (name, with D?) -> median; all networks in turn, so that none has the quiet minute"
    learners = {(n, d): learner(n, args, d) for n in names for d in (False, True)}
    for _ in range(ROUNDS):
        for learn in learners.values():
            with learn.no_bar(), learn.no_logging(): learn.fit(1, args.lr)
    return {k: median(learn.stopwatch.took[1:]) for k,learn in learners.items()}


def kept_for_backward(net, size, bs):
    "MB that a forward pass keeps, but for the parameters: the same on every machine"
    held,mine = {},{p.untyped_storage().data_ptr() for p in net.parameters()}
    def keep(t):
        s = t.untyped_storage()
        held[s.data_ptr()] = s.nbytes()
        return t
    with saved_tensors_hooks(keep, lambda t: t): pair = net(*photo_of(size, bs))
    return sum(n for p,n in held.items() if p not in mine)/2**20, pair


def gmac(net, size):
    "Thousand million multiply-adds of one photo"
    with FlopCounterMode(display=False) as count, torch.no_grad(): net(*photo_of(size)[:2])
    return count.get_total_flops()/2e9


def seconds(nets, size, rounds=3):
    "Processor time to fill one photo, in turn, name -> median"
    took,photo = defaultdict(list),photo_of(size)[:2]
    for _ in range(rounds):
        for name,net in nets.items():
            began = time.process_time()
            with torch.inference_mode(): net(*photo)
            took[name].append(time.process_time()-began)
    return {k: median(v) for k,v in took.items()}


def write_costs(args, everything, about):
    "The table, a row for each network"
    names = args.nets or everything
    nets = {n: network(n, args.budget).eval().to(memory_format=torch.channels_last) for n in names}
    ms,fill = step_times(names, args),seconds(nets, SIZES[-1])
    d,rows = count_parameters(Discriminator(2*args.budget)),[]
    for name,net in nets.items():
        kept,_ = kept_for_backward(net.train(), args.size, args.bs)
        rows.append(dict(
            net=name, budget=args.budget, width=net.settings['width'], parameters=count_parameters(net), parameters_d=d,
            **{f'gmac_{s}': round(gmac(net.eval(), s), 4) for s in SIZES}, size=args.size, bs=args.bs,
            ms_step=round(ms[name, False], 1), ms_step_d=round(ms[name, True], 1), mb_kept=round(kept, 2),
            seconds_512=round(fill[name], 3), **about))
        print(rows[-1], flush=True)
    args.results.mkdir(parents=True, exist_ok=True)
    write_csv(args.results/'seven_cost.csv', rows)
