"Generators behind one protocol: what `Inpainter` was before it had a base class, it is bit for bit."
from pathlib import Path

import pytest, torch
import torch.nn.functional as F
from torch import nn

import gla_inpaint
from gla_inpaint.generator import (
    CoarseNet, Generator, Inpainter, RefineNet, check_inputs, composite)
from gla_inpaint.inference import load_inpainter

WEIGHTS = Path(gla_inpaint.__path__[0])/'weights'


# ---- what came before the protocol

class Before(nn.Module):
    "`Inpainter` as it was when it had no base class: the same parts, and its own forward."
    def __init__(self, width, mpga, gla, candidates, scale):
        super().__init__()
        self.coarse = CoarseNet(width, mpga)
        self.refine = RefineNet(width, gla, candidates=candidates, scale=scale)

    def pad(self, x):
        h,w = x.shape[-2:]
        x = F.pad(x, (0, -w%4, 0, -h%4))
        return x.contiguous(memory_format=torch.channels_last)

    def forward(self, holed, mask):
        check_inputs(holed, mask)
        (h,w),mask = holed.shape[-2:],mask.to(holed.dtype)
        x,m = self.pad(holed.masked_fill(mask == 0, 0)),self.pad(mask)
        coarse = self.coarse(x, m)
        refined = self.refine(composite(coarse, x, m), m)
        return coarse[...,:h,:w],refined[...,:h,:w]


def photo_and_mask(b=1, h=61, w=50, seed=0):
    "Photos [B,3,H,W] in [-1,1], and masks [B,1,H,W] with a third of hole in blocks."
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(b, 1, 8, 8, generator=rng) > .33
    mask = F.interpolate(coarse.float(), (h, w), mode='nearest')
    return torch.rand(b, 3, h, w, generator=rng)*2-1,mask


@pytest.mark.parametrize('name', ['default', 'adversarial'])
def test_shipped_weights_fill_as_before(name):
    net = load_inpainter(WEIGHTS/f'{name}.safetensors', 'cpu')
    old = Before(net.width, net.mpga, net.gla, net.candidates, net.scale).eval()
    old.load_state_dict(net.state_dict(), strict=True)
    with torch.inference_mode(): both = [f(*photo_and_mask()) for f in (net, old)]
    assert all(torch.equal(a, b) for a,b in zip(*both, strict=True))


def test_training_starts_as_before():
    "The same random numbers in the same order, the same names, the same gradients"
    how = dict(width=4, mpga=True, gla=True, candidates='partly', scale=20.)
    nets = []
    for kind in (Inpainter, Before):
        torch.manual_seed(0)
        nets.append(kind(**how))
        sum(o.square().mean() for o in nets[-1](*photo_and_mask(2))).backward()
    for a,b in zip(*(dict(n.named_parameters()).items() for n in nets), strict=True):
        assert a[0] == b[0] and torch.equal(a[1], b[1]), a[0]
        assert torch.equal(a[1].grad, b[1].grad), a[0]
    assert nets[0].settings == how and all(getattr(nets[0], k) == v for k,v in how.items())


def test_a_generator_without_fill_says_so():
    class Idle(Generator): pass
    with pytest.raises(NotImplementedError, match='Idle has no method fill'):
        Idle()(*photo_and_mask())
