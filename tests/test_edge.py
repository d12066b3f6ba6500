"EdgeConnect: edges of any tensor, edges that are given, and what the loss does where there is nothing to count."
from pathlib import Path

import pytest, torch

from gla_inpaint.others.edge import EdgeNet, canny, edge_loss
from gla_inpaint.weights import load_inpainter


def photo_and_mask(b=2, h=40, w=48):
    rng = torch.Generator().manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(b, 3, 5, 6, generator=rng)*2-1, (h, w), mode='nearest')
    m = torch.ones(b, 1, h, w)
    m[:,:,10:25,12:30] = 0
    return x,m


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_edges_have_the_photos_type_and_no_gradient(dtype):
    x,m = photo_and_mask()
    x = x.to(dtype).requires_grad_()
    edges = canny(x, m.to(dtype))
    assert edges.shape == (2, 1, 40, 48) and edges.dtype == dtype and edges.device == x.device and not edges.requires_grad
    assert edges.any() and set(edges.float().unique().tolist()) == {0, 1}


def test_each_photo_has_its_own_mask():
    x,m = photo_and_mask()
    m[1] = m[1].roll((9, 11), (1, 2))
    assert torch.equal(canny(x, m), torch.cat([canny(x[i:i+1], m[i:i+1]) for i in range(2)]))


def test_no_hole_is_no_mask():
    x,m = photo_and_mask()
    assert torch.equal(canny(x), canny(x, torch.ones_like(m)))
    assert not canny(x, torch.zeros_like(m)).any()


@pytest.mark.parametrize('edges', [0., 1.], ids=['no edge', 'edges alone'])
@pytest.mark.parametrize('known', [0., 1.], ids=['hole', 'no hole'])
def test_a_loss_of_nothing_is_a_number(edges, known):
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    loss = edge_loss(logits, torch.full_like(logits, edges), torch.full_like(logits, known))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all() and (loss == 0) == (known == 1)


def test_edges_are_given_in_the_hole_alone():
    torch.manual_seed(0)
    net,(x,m) = EdgeNet(4, 2).eval(),photo_and_mask()
    with torch.inference_mode():
        lines = torch.rand_like(m)
        a,b = net.fill(x*m, m, edges=lines),net.fill(x*m, m, edges=lines*(1-m))
    assert all(torch.equal(*pair) for pair in zip(a, b))
    assert torch.allclose((a[0][:,:1]+1)/2*(1-m), lines*(1-m), atol=1e-6)


def test_the_truth_is_for_training_alone():
    "Whole photos change the losses, and nothing else once the teacher has gone"
    torch.manual_seed(0)
    net,(x,m) = EdgeNet(4, 2).eval(),photo_and_mask()
    net.done = 1.
    with torch.inference_mode(): a,b = net(x, m),net(x, m, x.flip(-1))
    assert all(torch.equal(*pair) for pair in zip(a, b)) and set(net.own) == {'edges'}


def test_no_gradient_of_the_painter_reaches_the_drawer():
    net,(x,m) = EdgeNet(4, 2),photo_and_mask()
    net.done = 1.
    net(x, m, x)[1].sum().backward()
    assert all(p.grad is None for p in net.draw.parameters()) and all(p.grad is not None for p in net.paint.parameters())


def test_compiled_it_fills_the_same():
    "Canny's edges are found outside the compiled graph"
    torch.manual_seed(0)
    net,(x,m) = EdgeNet(4, 2).eval(),photo_and_mask()
    with torch.no_grad():
        plain = net(x, m)
        net.compile(backend='eager')
        for a,b in zip(plain, net(x, m)): assert torch.allclose(a, b, atol=1e-5)


def test_settings_are_kept():
    net = EdgeNet(4, blocks=2, sigma=.5, teacher=0.)
    assert net.settings == dict(width=4, blocks=2, sigma=.5, teacher=0.)
    x,m = photo_and_mask()
    with torch.no_grad(): first,_ = net(x, m)
    assert torch.equal((first[:,:1]+1)/2*m, canny(x*m, m, .5)*m)


def test_weights_of_the_page_are_small_and_follow_a_line():
    file = Path(__file__).parent.parent/'nbs/others/weights/edge.safetensors'
    net,(x,m) = load_inpainter(file, 'cpu'),photo_and_mask()
    assert file.stat().st_size < 600_000 and net.name == 'edge'
    with torch.no_grad(): a,b = (net.fill(x*m, m, edges=torch.full_like(m, v))[1] for v in (0., 1.))
    assert (a-b).abs()[(m == 0).expand_as(x)].mean() > .01
