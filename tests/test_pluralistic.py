"Pluralistic completion: what is random and what is not, half precision, sizes, and the small weights of its page."
from pathlib import Path

import pytest, torch

from gla_inpaint.generator import composite
from gla_inpaint.losses import reconstruction_loss
from gla_inpaint.nets import net_class
from gla_inpaint.others.pluralistic import NormalHead, PluralisticNet, ShortLongAttention, hole_sigma, known_alone, normal_kl
from gla_inpaint.weights import load_inpainter

WEIGHTS = Path(__file__).parent.parent/'nbs/others/weights/pluralistic.safetensors'

def small(width=4):
    torch.manual_seed(0)
    return PluralisticNet(width)

def photo_and_mask(n=2, h=32, w=32):
    g = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, h, w, generator=g)*2-1,(torch.rand(n, 1, h, w, generator=g) < .6).float()


def test_without_the_truth_nothing_is_drawn():
    "Neither in training mode nor in use: torch's generator is not even asked"
    net,(x,m) = small(),photo_and_mask()
    before = torch.get_rng_state()
    pairs = [net.train(mode)(x, m) for mode in (True, False)]
    assert torch.equal(torch.get_rng_state(), before) and not net.own
    assert all(torch.equal(p, pairs[0][0]) for pair in pairs for p in pair)


def test_noise_in_training_is_from_torchs_generator():
    net,(x,m) = small(),photo_and_mask()
    def _pair(seed):
        torch.manual_seed(seed)
        return net(x, m, x)
    a,b,c = map(_pair, (3, 3, 4))
    assert all(torch.equal(u, v) for u,v in zip(a, b)) and not any(torch.equal(u, v) for u,v in zip(a, c))
    assert not torch.equal(*a)


def test_the_generating_path_does_not_see_the_truth():
    net,(x,m) = small(),photo_and_mask()
    pairs = []
    for truth in (x, x*m - (1-m)*x):
        torch.manual_seed(0)
        pairs.append(net(x, m, truth))
    (first,result),(other,same) = pairs
    assert (result-same).abs().max() < 1e-6 and (first-other).abs().max() > 1e-4


@pytest.mark.parametrize('size', [(16, 16), (17, 23), (40, 24)])
def test_samples(size):
    "Of any size; known pixels are the photo's, bit for bit, and values under the hole change nothing"
    net,(x,m) = small().eval(),photo_and_mask(2, *size)
    def _samples(under):
        torch.manual_seed(0)
        with torch.no_grad(): return net.sample(torch.where(m == 1, x, under), m, 3)
    fills = _samples(0.)
    assert fills.shape == (3, *x.shape) and fills.abs().max() <= 1
    assert all(torch.equal(f*m, x*m) for f in fills) and not torch.equal(fills[0], fills[1])
    assert torch.equal(fills, _samples(torch.nan))


def test_a_sample_is_a_fill_with_noise():
    net,(x,m) = small().eval(),photo_and_mask()
    torch.manual_seed(0)
    one, = net.sample(x, m, 1)
    torch.manual_seed(0)
    _,result = net.fill(x*m, m, z=torch.randn(2, 16, 2, 2))
    assert (one-composite(result, x, m)).abs().max() < 1e-5


@pytest.mark.parametrize('wrong,says', [(lambda x,m: (x[:,:2], m), r'\[B,3,H,W\]'), (lambda x,m: (x, m*.5), '1 .known. or 0'),
                                        (lambda x,m: (x[...,:8,:], m[...,:8,:]), 'at least 16x16')])
def test_samples_of_wrong_inputs(wrong, says):
    with pytest.raises(ValueError, match=says): small().sample(*wrong(*photo_and_mask()))


def test_in_half_precision_the_divergences_are_single():
    net,(x,m) = small(),photo_and_mask()
    with torch.autocast('cpu', torch.bfloat16):
        net(x, m, x)
        mean,sigma = net.prior(net.encoder(x, m)[1])
    assert {v.dtype for v in net.own.values()} == {mean.dtype, sigma.dtype} == {torch.float32}
    assert all(v.isfinite() and v >= 0 for v in net.own.values())
    double = small().double()
    double(x.double(), m, x.double())
    assert {v.dtype for v in double.own.values()} == {torch.float64}


def test_a_narrow_prior_stays_finite():
    "Features that push both distributions as far as they go"
    torch.manual_seed(0)
    head = NormalHead(4)
    (mean,sigma),(far,narrow) = head(torch.randn(2, 4, 3, 3)),head(-1e4*torch.randn(2, 4, 3, 3).abs())
    assert narrow.min() >= .05
    kl = normal_kl(mean, sigma, far, narrow).mean()
    kl.backward()
    assert kl.isfinite() and all(p.grad.isfinite().all() for p in head.parameters())


def test_each_photo_has_a_width_of_its_own():
    "A small hole beside a large one: the first divergence is that of each photo alone"
    net,(x,_) = small(),photo_and_mask()
    m = torch.ones(2, 1, 32, 32)
    m[0,:,:8] = m[1,:,:24] = 0
    net(x, m, x)
    together = net.own['posterior'].item()
    alone = []
    for i in (0, 1):
        net(x[i:i+1], m[i:i+1], x[i:i+1])
        alone.append(net.own['posterior'].item())
    assert together == pytest.approx(sum(alone)/2, rel=1e-4) and abs(alone[0]-alone[1]) > .01
    assert hole_sigma(torch.tensor(.75)) < hole_sigma(torch.tensor(.25))


def test_known_alone_is_counted_when_it_is_asked_for():
    net,(x,m) = small(),photo_and_mask()
    for own,names in ((None, {'posterior', 'prior'}), (True, {'posterior', 'prior', 'known'}), (dict(known=.5), {'posterior', 'prior', 'known'})):
        net.ask(own)
        net(x, m, x)
        assert net.own.keys() == net.asked.keys() == names
    assert known_alone(x, x, m) == 0
    result = (x+.1).clamp(-1, 1)
    total = reconstruction_loss(None, result, x) + known_alone(result, x, m)
    assert 0 < total < reconstruction_loss(None, result, x)


def test_the_attention_is_for_each_photo():
    torch.manual_seed(0)
    att,d,e,m = ShortLongAttention(8),torch.randn(2, 8, 3, 5),torch.randn(2, 8, 3, 5),torch.rand(2, 1, 3, 5)
    with torch.no_grad():
        att.gamma.fill_(1.); att.alpha.fill_(1.)
        both = att(d, e, m)
        for i in (0, 1): assert (att(d[i:i+1], e[i:i+1], m[i:i+1])-both[i]).abs().max() < 1e-5
        known = att(d, e, torch.ones_like(m))
        att.alpha.fill_(0.)
        assert torch.equal(att(d, e, torch.ones_like(m)), known), 'nothing is mixed where all is known'


def test_it_has_a_name():
    assert net_class('pluralistic') is PluralisticNet and small().settings == dict(width=4)


def test_the_weights_of_the_page():
    assert WEIGHTS.stat().st_size <= 6e5
    net,(x,m) = load_inpainter(WEIGHTS, 'cpu').eval(),photo_and_mask()
    assert (net.name, net.settings) == ('pluralistic', dict(width=6))
    with torch.no_grad(): assert net(x, m)[1].isfinite().all()
