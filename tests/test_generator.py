"The generator: sizes, holes, batches, precisions and what it rejects; the notebook teaches the rest"
import itertools

import pytest, torch
import torch.nn.functional as F
from torch import nn

from gla_inpaint.generator import (
    CoarseNet, Conv, Double, Inpainter, UpConv2d, check_inputs, composite, decoder, saturation)
from gla_inpaint.masks import hole_of_ratio, mask_from_hole


def photo(h, w, b=1, seed=0):
    "Photos [B,3,H,W] in [-1,1]"
    return torch.rand(b, 3, h, w, generator=torch.Generator().manual_seed(seed))*2-1


def mask(h, w): return mask_from_hole(hole_of_ratio((128,128), (.2,.3), seed=3))[None][...,30:30+h,40:40+w]


def healthy(net, x, m):
    "Are outputs and gradients finite, and outputs in [-1,1]?"
    outs = net(x, m)
    sum(o.square().mean() for o in outs).backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    return all(o.shape == x.shape and (o.abs() <= 1).all() for o in outs) and grads and all(g.isfinite().all() for g in grads)


HOLES = dict(drawn=lambda h,w: torch.cat([mask(h, w), mask(h, w).flip(-1)]), none=lambda h,w: torch.ones(2, 1, h, w),
             all=lambda h,w: torch.zeros(2, 1, h, w), mixed=lambda h,w: torch.cat([torch.ones(1, 1, h, w), torch.zeros(1, 1, h, w)]))

@pytest.mark.parametrize('size', [(16,16), (17,23), (19,40), (64,16)])
@pytest.mark.parametrize('hole', HOLES)
def test_any_size_and_any_hole_is_finite(size, hole):
    torch.manual_seed(0)
    assert healthy(Inpainter(8), photo(*size, 2), HOLES[hole](*size))


@pytest.mark.parametrize('mpga,gla', [*itertools.product((True, False), repeat=2)])
def test_any_size_without_the_modules(mpga, gla):
    torch.manual_seed(0)
    assert healthy(Inpainter(8, mpga=mpga, gla=gla), photo(17, 20), mask(17, 20))


def test_photos_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    net,x,m = Inpainter(8),photo(40, 36, 2),torch.cat([mask(40, 36), torch.ones(1, 1, 40, 36)])
    with torch.no_grad(): together,alone = net(x*m, m),[net((x*m)[i:i+1], m[i:i+1]) for i in (0,1)]
    for t,a in zip(together, zip(*alone)): torch.testing.assert_close(t, torch.cat(a), rtol=0, atol=1e-4)


def test_a_mask_of_true_and_false_is_one_of_ones_and_zeros():
    torch.manual_seed(0)
    net,x,m = Inpainter(8),photo(61, 43),mask(61, 43)
    with torch.no_grad():
        for a,b in zip(net(x*m, m), net(x*m, m.bool())): assert torch.equal(a, b)


def test_known_pixels_matter():
    torch.manual_seed(0)
    net,x,m = Inpainter(8),photo(64, 64),mask(64, 64)
    with torch.no_grad(): pairs = zip(net(x*m, m), net((x*m+.1*m).clamp(-1, 1), m))
    assert all((a != b).any() for a,b in pairs)


X,M = torch.zeros(2, 3, 32, 32),torch.ones(2, 1, 32, 32)
BAD = [
    ('image must be at least 16x16, got 32x15', X[...,:15], M[...,:15]), (r'image must be \[B,3,H,W\], got \[2, 1, 32, 32\]', X[:,:1], M),
    (r'image must be \[B,3,H,W\], got \[3, 32, 32\]', X[0], M[0]), (r'mask must be \[2, 1, 32, 32\], got \[2, 1, 32, 16\]', X, M[...,:16]),
    (r'got \[1, 1, 32, 32\]', X, M[:1]), (r'got \[2, 3, 32, 32\]', X, M.expand_as(X)), ('mask must be 1', X, M*255), ('mask must be 1', X, M-2),
    ('mask must be 1', X, M*.5), (r'image must be in \[-1,1\], got values up to 255', X+255, M)]

@pytest.mark.parametrize('says,x,m', BAD, ids=[b[0] for b in BAD])
def test_invalid_input_is_rejected(says, x, m):
    for f in (check_inputs, Inpainter(4)):
        with pytest.raises(ValueError, match=says): f(x, m)


@pytest.mark.parametrize('dtype,tol', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_doubling_and_convolving_in_one_has_the_same_values_and_gradients(dtype, tol):
    torch.manual_seed(0)
    conv,one = (kind(16, 8, 3, padding=1).to(dtype) for kind in (nn.Conv2d, UpConv2d))
    one.load_state_dict(conv.state_dict())
    x = torch.randn(2, 16, 7, 5, dtype=dtype, requires_grad=True)
    two = conv(F.interpolate(x, scale_factor=2, mode='nearest'))
    both = [[y, *torch.autograd.grad(y.square().sum(), [x, *c.parameters()])] for c,y in ((conv, two), (one, one(x)))]
    for a,b in zip(*both, strict=True): assert (a-b).abs().max() < tol*b.abs().max()


def test_the_rows_for_doubling_say_nearest_and_pass_the_map_on():
    doubles = [l for l in decoder(4) if isinstance(l, nn.Upsample)]
    assert [l.mode for l in doubles] == ['nearest']*2 and all(isinstance(l, Double) for l in doubles)
    assert doubles[0](X) is X


@pytest.mark.parametrize('kernel,stride,dilation', [(5,1,1), (3,1,1), (3,2,1), (3,1,2), (3,1,16)])
def test_a_convolution_keeps_the_size_or_halves_it(kernel, stride, dilation):
    assert Conv(4, 8, kernel, stride, dilation)(torch.zeros(2, 4, 40, 24)).shape == (2, 8, 40//stride, 24//stride)


def test_the_composite_takes_no_notice_of_the_photo_under_the_hole():
    x,m,gen = photo(16, 16),mask(16, 16),photo(16, 16, seed=1)
    assert torch.equal(composite(gen, x*m, m), composite(gen, x, m))
    assert torch.equal((composite(gen, x, m) != x).any(1, keepdim=True), m == 0)


def test_the_refinement_reads_the_photo_and_the_coarse_guess_in_the_hole():
    torch.manual_seed(0)
    net,x,m,seen = Inpainter(8),photo(32, 32),mask(32, 32),[]
    net.refine.register_forward_pre_hook(lambda module, args: seen.extend(args))
    with torch.no_grad(): coarse,_ = net(x*m, m)
    assert torch.equal(seen[0], torch.where(m == 1, x, coarse)) and torch.equal(seen[1], m)


def test_an_untrained_network_gives_the_size_of_its_input():
    x,m = photo(64, 64),mask(64, 64)
    with torch.no_grad(): assert CoarseNet(8)(x*m, m).shape == x.shape


def test_saturation_is_the_share_at_the_ends():
    assert saturation(torch.tensor([-1., 1.])) == 1 and saturation(torch.tensor([-1., 0, .5, 1])) == .5
