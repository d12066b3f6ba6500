"Three columns side by side, and their two losses: confidence and ID-MRF, on any device and in half precision."
import math

import pytest, torch

from gla_inpaint.data import make_loaders
from gla_inpaint.learner import get_learner
from gla_inpaint.nets import make_net
from gla_inpaint.others import multicolumn
from gla_inpaint.others.multicolumn import Column, confidence_weights, hole_mrf, id_mrf
from test_unets import photo_and_mask


def test_columns_keep_the_size_and_end_with_fewer_channels():
    seen = torch.randn(1, 4, 20, 28)
    ends = [Column(4, k, ups)(seen).shape for k,ups in ((7,0), (5,1), (3,2))]
    assert [tuple(e) for e in ends] == [(1, c, 20, 28) for c in (16, 8, 4)]


# ---- confidence

def test_confidence_at_the_ends():
    "Nothing is missing; nothing is known"
    m = torch.ones(2, 1, 20, 24)
    assert not confidence_weights(m).any() and not confidence_weights(0*m).any()


def test_confidence_of_a_photo_is_its_own():
    _,m = photo_and_mask()
    assert not torch.equal(m[0], m[1])
    assert torch.allclose(confidence_weights(m)[1:], confidence_weights(m[1:]), atol=1e-6)


def test_confidence_is_counted_in_single_precision():
    _,m = photo_and_mask()
    with torch.autocast('cpu', torch.bfloat16): inside = confidence_weights(m)
    assert inside.dtype == torch.float32 and torch.equal(inside, confidence_weights(m))
    assert confidence_weights(m.bfloat16()).dtype == torch.float32


# ---- ID-MRF

def features(n=30, b=2): return torch.randn(b, 12, n, generator=torch.Generator().manual_seed(0)).abs()

def test_each_photo_has_a_loss_of_its_own():
    true = features()
    made = torch.stack([true[0], true[1,:,:1].expand(12, 30)])
    assert id_mrf(made, true).tolist() == pytest.approx([0, math.log(30)], abs=1e-4)


def test_gradients_are_numbers_even_where_features_are_equal():
    true = features()
    for made in (true.clone(), true+1e-4, torch.zeros_like(true), true[...,:1].repeat(1, 1, 30), true.flip(2)+.3):
        made.requires_grad_()
        id_mrf(made, true).sum().backward()
        assert made.grad.isfinite().all()


def test_a_step_against_the_gradient_brings_variety():
    true,made = features(),features().roll(1, 1).requires_grad_()
    before = [id_mrf(made, true).sum()]
    for _ in range(30):
        g, = torch.autograd.grad(before[-1], made)
        made = (made-.5*g).detach().requires_grad_()
        before.append(id_mrf(made, true).sum())
    assert before[-1] < .8*before[0]


def test_it_is_computed_in_single_precision():
    true = features()
    made = true.roll(3, 2)+.1
    with torch.autocast('cpu', torch.bfloat16): inside = id_mrf(made, true)
    assert inside.dtype == torch.float32 and torch.equal(inside, id_mrf(made, true))
    assert id_mrf(made.bfloat16(), true.bfloat16()).dtype == torch.float32


def test_the_box_holds_all_of_the_hole():
    hole = torch.zeros(9, 8)
    assert multicolumn._box(hole) == (slice(0), slice(0))
    hole[3,2] = hole[5,6] = .5
    assert multicolumn._box(hole) == (slice(3, 6), slice(2, 7))


def test_nothing_counts_outside_the_hole_s_box():
    "As far as the features see, 11 pixels"
    x,m = photo_and_mask()
    filled = torch.where(m == 1, x, x.flip(3))
    other = filled.clone()
    other[0,:,52:],other[1,:,:,44:] = 0,0
    loss = hole_mrf(filled, x, m)
    assert loss > 0 and torch.equal(hole_mrf(other, x, m), loss)


def test_a_photo_without_a_hole_has_no_loss_and_one_alone_all_of_it():
    x,m = photo_and_mask()
    filled = torch.where(m == 1, x, x.flip(3))
    assert hole_mrf(filled, x, torch.ones_like(m)) == 0
    first = m.clone()
    first[1] = 1
    assert hole_mrf(filled, x, first).item() == pytest.approx(hole_mrf(filled[:1], x[:1], m[:1]).item()/2, rel=1e-5)


def test_of_a_large_hole_some_places_are_compared():
    seen,idm = [],multicolumn.id_mrf
    x = torch.rand(1, 3, 64, 96)*2-1
    with pytest.MonkeyPatch.context() as m:
        m.setattr(multicolumn, 'id_mrf', lambda a, b: seen.append(a.shape[-1]) or idm(a, b))
        for most in (1024, 384, 383, 100): hole_mrf(x.flip(3), x, torch.zeros(1, 1, 64, 96), most)
    assert seen == [384, 384, 192, 96]


# ---- in training

@pytest.mark.parametrize('name', ['partial', 'multicolumn', 'fusion'])
@pytest.mark.parametrize('bf16', [False, True], ids=['float32', 'bf16'])
def test_some_steps_with_all_losses(name, bf16):
    "All numbers are finite (else it stops), and the clamp does not cut off more than without them"
    from test_others import Image, np
    rng,clamped = np.random.default_rng(0),[]
    photos = [Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8)).resize((64, 64)) for _ in range(13)]
    for own in (None, True):
        torch.manual_seed(0)
        learn = get_learner(make_loaders(photos[1:], photos[:1], 64, 4, num_workers=0, device='cpu'),
                            net=make_net(name, dict(width=4)), own=own, adversarial=False, metrics=[], lr=1e-3)
        if bf16: learn.to_bf16()
        with learn.no_bar(), learn.no_logging(): learn.fit(2)
        assert all(p.isfinite().all() for p in learn.model.parameters())
        clamped.append(learn.loss_log.mean('saturated'))
    assert clamped[1] < clamped[0]+.05


@pytest.mark.parametrize('name', ['partial', 'multicolumn', 'fusion'])
def test_own_losses_of_a_compiled_network(name):
    "As `torch.compile` traces it, without what it compiles"
    torch.manual_seed(0)
    (net := make_net(name, dict(width=4))).ask(True)
    x,m = photo_and_mask()
    net(x*m, m, x)
    own = {k: v.item() for k,v in net.own.items()}
    net.compile(backend='eager')
    net(x*m, m, x)
    assert {k: v.item() for k,v in net.own.items()} == pytest.approx(own, rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
@pytest.mark.parametrize('name', ['partial', 'multicolumn', 'fusion'])
def test_own_losses_on_a_gpu(name):
    torch.manual_seed(0)
    (net := make_net(name, dict(width=4))).ask(True)
    own = []
    for device in ('cpu', 'cuda'):
        net,(x,m) = net.to(device),(t.to(device) for t in photo_and_mask())
        net(x*m, m, x)
        own.append({k: v.item() for k,v in net.own.items()})
    assert own[1] == pytest.approx(own[0], rel=.02)
