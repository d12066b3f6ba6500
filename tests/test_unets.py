"The two U-Nets among the other methods: half precision, what the opacity may depend on, and losses on random features."
import pytest, torch

from gla_inpaint.others import partial
from gla_inpaint.others.fusion import FusionBlock, FusionNet, shrink_known
from gla_inpaint.others.multicolumn import MultiColumnNet
from gla_inpaint.others.partial import PartialConv, PartialNet, gram, random_features, style_loss, total_variation

nets = pytest.mark.parametrize('kind', [PartialNet, FusionNet])

def photo_and_mask(seed=0):
    torch.manual_seed(seed)
    m = torch.ones(2, 1, 64, 64)
    m[0,:,20:40,10:50] = m[1,:,:30,:30] = 0
    return torch.rand(2, 3, 64, 64)*2-1,m


def test_known_shares_are_counted_in_single_precision():
    "In bfloat16 whole numbers above 256 are rounded"
    torch.manual_seed(0)
    conv,m = PartialConv((300, 5), 4),(torch.rand(1, 1, 12, 12) > .5).float()
    maps = [(torch.randn(1, c, 12, 12), m.roll(i, 2)) for i,c in enumerate((300, 5))]
    full,known = conv(*maps)
    with torch.autocast('cpu', torch.bfloat16):
        share = conv.share(*(m for _,m in maps))
        half,same = conv(*maps)
    assert share.dtype == torch.float32 and torch.equal(share, conv.share(*(m for _,m in maps)))
    assert torch.equal(known, same) and (full-half).abs().max() < .05*full.abs().max()


def test_gradients_are_numbers_where_nothing_is_known():
    x,m = torch.randn(1, 3, 64, 64, requires_grad=True),torch.zeros(1, 1, 64, 64)
    net = PartialNet(4)
    net(x, m)[1].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_an_opacity_without_mask_does_not_depend_on_it():
    torch.manual_seed(0)
    x,m = torch.randn(1, 3, 16, 16).clamp(-1, 1),torch.ones(1, 1, 16, 16)
    for masked in (True, False):
        block = FusionBlock(3, masked)
        assert torch.equal(block(x, x, m)[1], block(x, x, 0*m)[1]) != masked
    assert FusionNet(4, masked=False).settings == dict(width=4, masked=False)


def test_shrunk_means_are_those_of_known_pixels():
    x,m = torch.arange(16.).view(1, 1, 4, 4).expand(1, 3, 4, 4),torch.ones(1, 1, 4, 4)
    m[...,0,0] = m[...,2:,2:] = 0
    small,share = shrink_known(x*m, m, 2)
    assert torch.allclose(small[0,0], torch.tensor([[10/3, 4.5], [10.5, 0]]))
    assert torch.equal(share[0,0], torch.tensor([[.75, 1], [1, 0]]))


# ---- random features and the losses on them

def test_random_features_disturb_no_other_random_numbers():
    before = torch.get_rng_state()
    with torch.device('meta'): again = partial._random_kernels()
    assert torch.equal(torch.get_rng_state(), before)
    for a,b in zip(again, partial._RANDOM, strict=True):
        assert torch.equal(a, b) and a.dtype == torch.float32 and not b.requires_grad
    assert [tuple(k.shape) for k in again] == [(32, 3, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3)]


def test_they_are_the_same_on_every_machine():
    assert partial._RANDOM[0].flatten()[:3].tolist() == pytest.approx([-.3064, -.3136, -.0682], abs=1e-4)


def test_random_features_are_exact_under_autocast():
    x,_ = photo_and_mask()
    with torch.autocast('cpu', torch.bfloat16):
        half,matrix = random_features(x),gram(x)
        rounded = random_features(x.bfloat16())
    assert all(torch.equal(a, b) and a.dtype == torch.float32 for a,b in zip(half, random_features(x), strict=True))
    assert torch.equal(matrix, gram(x)) and rounded[2].dtype == torch.float32
    assert [tuple(f.shape[1:]) for f in half] == [(32, 64, 64), (64, 32, 32), (128, 16, 16)]


def test_a_gradient_passes_through_random_features():
    x,_ = photo_and_mask()
    y = x.flip(-1).requires_grad_()
    style_loss(random_features(y[...,:32]), random_features(x[...,32:])).backward()
    assert y.grad.isfinite().all() and y.grad[...,:32].any() and not y.grad[...,32:].any()


def test_total_variation_is_counted_in_single_precision():
    x,_ = photo_and_mask()
    assert total_variation(x.bfloat16()).dtype == torch.float32
    assert total_variation(x[:,:,:1,:1].expand(2, 3, 8, 8)) == 0


@pytest.mark.parametrize('kind', [PartialNet, FusionNet, MultiColumnNet])
def test_own_losses_leave_the_network_as_it_was(kind):
    "The same weights from the same seed, the same names and numbers in its file, whether asked or not"
    states = []
    for own in (None, True):
        torch.manual_seed(0)
        (net := kind(4)).ask(own)
        x,m = photo_and_mask()
        after = torch.get_rng_state()
        net(x*m, m, x)
        assert torch.equal(torch.get_rng_state(), after) and net.own.keys() == net.asked.keys()
        states.append(net.state_dict())
    assert states[0].keys() == states[1].keys() == dict(net.named_parameters()).keys()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


@nets
def test_some_of_the_own_losses_can_be_asked_for(kind):
    (net := kind(4)).ask(dict(tv=1.))
    x,m = photo_and_mask()
    first,result = net(x*m, m, x)
    assert net.own.keys() == kind.needs.keys() | {'tv'}
    net(x*m, m)
    assert not net.own, 'without the truth there are none'


def test_partial_losses_look_at_the_filled_photo():
    "What the network puts out where the photo is known counts in none of them"
    (net := PartialNet(4)).ask(True)
    x,m = photo_and_mask()
    result,_ = net.fill(x*m, m, x)
    result.retain_grad()
    sum(net.own.values()).backward()
    assert result.grad[(m == 0).expand_as(x)].any() and not result.grad[(m == 1).expand_as(x)].any()
    assert net.own['hole'].item() == pytest.approx(((result-x)*(1-m)).abs().mean().item(), rel=1e-5)
