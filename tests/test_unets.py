"The two U-Nets among the other methods: half precision, and what the opacity may depend on."
import torch

from gla_inpaint.others.fusion import FusionBlock, FusionNet, shrink_known
from gla_inpaint.others.partial import PartialConv, PartialNet


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
