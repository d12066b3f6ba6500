"""Metrics: shapes that do not match, half precision, windows worked out by hand. What they measure is in nbs/07_metrics.ipynb"""
import math

import pytest, torch

from gla_inpaint.metrics import inpaint_metrics

X,M = torch.rand(2,3,16,16, generator=torch.Generator().manual_seed(0)),torch.ones(2,1,16,16)
GREY = torch.zeros(1,3,16,16) # 0.5 in [0,1]


@pytest.mark.parametrize('args,says', [
    ((X[...,:12], X, M), 'must have one shape'), ((X[0], X[0], M[0]), 'must have one shape'),
    ((X, X, M[:1]), 'need a mask of shape'), ((X, X, M[:,0]), 'need a mask of shape'),
    ((X[...,:10], X[...,:10], M[...,:10]), '11x11')], ids=['sizes', 'no batch', 'one mask for all', 'mask without channel', 'too small'])
def test_shapes_that_do_not_match_are_an_error(args, says):
    with pytest.raises((ValueError, AssertionError), match=says): inpaint_metrics(*args)


def test_half_precision_does_no_harm():
    "Numbers are float32, and the mask is brought to float32 too: bfloat16 cannot count a hole's pixels exactly"
    torch.manual_seed(0)
    truth,mask = 2*torch.rand(2,3,128,128)-1,(torch.rand(2,1,128,128) > .25).float()
    half = [t.bfloat16() for t in (truth.flip(-1)*.5, truth, mask)]
    assert (1-half[2]).sum() != (1-mask).sum()
    with torch.autocast('cpu', dtype=torch.bfloat16): got = inpaint_metrics(*half)
    for k,v in inpaint_metrics(*(t.float() for t in half)).items(): assert got[k].dtype == torch.float32 and torch.equal(got[k], v)


def test_equal_images():
    dot = torch.ones(1,1,16,16)
    dot[...,8,8] = 0
    for k,v in inpaint_metrics(GREY, GREY, dot).items():
        assert v.item() == pytest.approx({'ssim': 100., 'psnr': math.inf}.get(k.split('_')[-1], 0.), abs=1e-3)


def test_the_ssim_of_one_pixel_is_that_of_the_window_around_it():
    dot = torch.ones(1,1,16,16)
    dot[...,8,8] = 0
    got = inpaint_metrics(GREY + .2*(1-dot), GREY, dot)
    w = 1/sum(math.exp(-k**2/(2*1.5**2)) for k in range(-5, 6))**2 # the window's weight at its centre
    mu,var = .5+.1*w,.01*w*(1-w)
    assert got['hole_ssim'].item() == pytest.approx(100*(mu+1e-4)*9e-4/((.25+mu**2+1e-4)*(var+9e-4)), abs=.01)
    assert got['l1'].item() < .1


def test_between_constant_images_ssim_is_its_brightness_factor():
    got = inpaint_metrics(GREY+.2, GREY, torch.ones(1,1,16,16))
    assert got['ssim'].item() == pytest.approx(100*(2*.5*.6+1e-4)/(.5**2+.6**2+1e-4), abs=.01)


def test_spoilt_known_pixels_count_in_the_whole_image():
    torch.manual_seed(0)
    truth,mask = torch.rand(1,3,32,32)-.5,torch.ones(1,1,32,32)
    mask[...,10:20,10:20] = 0
    filled = truth*mask
    before,after = (inpaint_metrics(f, truth, mask) for f in (filled, filled + mask*.5*torch.randn_like(truth)))
    assert after['l1'] > before['l1']+5 and torch.equal(after['hole_l1'], before['hole_l1'])
