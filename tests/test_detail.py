"Detail from the known part: what `inpaint` may change by it, and what not."
import numpy as np, pytest, torch
from PIL import Image
from fastai.torch_core import set_seed
from scipy.ndimage import gaussian_filter

from gla_inpaint.data import crop_photo, sample_photos, to_tensor
from gla_inpaint.detail import copy_detail, distance, shortlist, split
from gla_inpaint.inference import inpaint, main
from gla_inpaint.masks import hole_of_ratio

PHOTO = crop_photo(sample_photos()['chelsea'], (96,128))
HOLE = hole_of_ratio((96,128), (.1,.2), 0)


def texture(im, hole):
    "Mean step between neighbours in the hole"
    g = np.asarray(im.convert('L'), float)
    return np.abs(np.diff(g, axis=1))[hole[:,1:] & hole[:,:-1]].mean()


def test_the_same_each_time_known_as_it_was_and_more_texture():
    soft,fine = inpaint(PHOTO, HOLE, detail=False),inpaint(PHOTO, HOLE)
    assert np.array_equal(fine, inpaint(PHOTO, HOLE))
    known = np.asarray(PHOTO)[~HOLE]
    assert np.array_equal(np.asarray(fine)[~HOLE], known)
    assert texture(fine, HOLE) > 1.2*texture(soft, HOLE)


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', 'CMYK'])
def test_modes_are_kept(mode):
    photo = PHOTO.convert(mode)
    fine = inpaint(photo, HOLE)
    assert fine.mode == mode and fine.size == photo.size
    assert np.array_equal(np.asarray(fine)[~HOLE], np.asarray(photo)[~HOLE])


def test_transparent_and_other_holes_lend_nothing():
    "What stands under the hole, or is transparent, does not matter"
    rgba = np.dstack([np.asarray(PHOTO), np.full((96,128), 255, np.uint8)])
    rgba[:40,:40,3] = 0
    hole = np.zeros((96,128), bool); hole[60:80,60:90] = True
    other = rgba.copy(); other[:40,:40,:3] = 99; other[hole,:3] = 7
    a,b = (np.asarray(inpaint(Image.fromarray(x), hole)) for x in (rgba, other))
    assert np.array_equal(a[hole], b[hole])


def test_too_little_to_lend_leaves_the_fill_as_it_is():
    set_seed(0)
    for size,known in ((8, slice(0, 4)), (24, slice(0, 8))):
        x,m = torch.rand(1, 3, size, size),torch.zeros(1, 1, size, size)
        m[...,known] = 1
        assert torch.equal(copy_detail(x, m), x)


def test_one_photo_at_a_time():
    with pytest.raises(ValueError, match=r'one photo at a time, \[1,C,H,W\], not \(2, 3, 32, 32\)'):
        copy_detail(torch.zeros(2, 3, 32, 32), torch.ones(2, 1, 32, 32))


def test_the_distance_is_that_of_loops():
    set_seed(0)
    a,blocks,w = torch.rand(12),torch.rand(5, 12),(torch.rand(12) > .5).float()
    by_hand = [sum(w[i]*(a[i]-blocks[j,i])**2 for i in range(12))/w.sum() for j in range(5)]
    assert torch.allclose(distance(a, blocks, w), torch.stack(by_hand), atol=1e-6)
    assert torch.equal(distance(a, blocks, 0*w), torch.zeros(5))


def test_the_shortlist_has_the_nearest_and_their_distances():
    set_seed(0)
    # more wanted than one product of matrices takes, and more blocks than the list
    wanted,blocks = torch.rand(300, 12),torch.rand(200, 12)
    far,which = shortlist(wanted, blocks)
    assert far.shape == which.shape == (300, 64)
    exact = (wanted[:,None]-blocks).square().mean(2)
    assert torch.allclose(exact.gather(1, which), far, atol=1e-5)
    assert torch.allclose(far, exact.sort(1).values[:,:64], atol=1e-5)
    assert shortlist(wanted[:2], blocks[:3])[0].shape == (2, 3), 'fewer are all'


def test_all_lengths_grow_with_the_crop():
    "Twice the picture, seen at half its size: detail is copied in blocks of twice the side"
    set_seed(0)
    m = torch.ones(1, 1, 48, 48); m[...,16:32,16:32] = 0
    x = torch.rand(1, 1, 48, 48)*m
    assert copy_detail(x, m, 3.9).sub(x).abs().max() == 0, 'no block of 47 or 70 pixels is known'
    assert copy_detail(x, m, 1.).sub(x).abs().max() > 0


def test_the_command(tmp_path):
    PHOTO.save(tmp_path/'p.png'); Image.fromarray(HOLE).save(tmp_path/'h.png')
    args = [str(tmp_path/'p.png'), str(tmp_path/'h.png'), '-o']
    assert main([*args, str(tmp_path/'a.png')]) == main([*args, str(tmp_path/'b.png'), '--no-detail']) == 0
    a,b = (np.asarray(Image.open(tmp_path/f'{n}.png')) for n in 'ab')
    assert np.array_equal(a[~HOLE], b[~HOLE]) and not np.array_equal(a, b)
    assert np.array_equal(a, np.asarray(inpaint(PHOTO, HOLE)))


def test_a_folder_is_done_again_without_detail(tmp_path, capsys):
    for d in ('photos', 'holes'): (tmp_path/d).mkdir()
    PHOTO.save(tmp_path/'photos/p.png'); Image.fromarray(HOLE).save(tmp_path/'holes/p.png')
    args = [str(tmp_path/d) for d in ('photos', 'holes')] + ['-o', str(tmp_path/'out')]
    for more,word in (([], '1 filled'), ([], '1 done before'), (['--no-detail'], '1 filled'), (['--no-detail'], '1 done before'), (['--detail'], '1 filled')):
        assert main([*args, *more]) == 0
        assert word in capsys.readouterr().out


def test_a_small_photo_gets_small_blocks():
    "The network has seen twice the size, so the blocks are of 9 and 6 pixels: between these stripes 6 fit, 12 do not"
    hole = np.tile(np.arange(128)%18 < 10, (128,1))
    noise = np.random.default_rng(0).integers(0, 256, (128,128,3)).astype(np.uint8)
    assert not np.array_equal(inpaint(noise, hole), inpaint(noise, hole, detail=False))


def test_only_what_is_wanted_changes():
    "Two holes: the one that is wanted gets what it gets alone, for neither lends to the other"
    set_seed(0)
    x,m = torch.rand(1, 3, 64, 96)*2-1,torch.ones(1, 1, 64, 96)
    m[...,20:40,10:30] = m[...,20:40,60:80] = 0
    left = torch.zeros(64, 96, dtype=bool); left[20:40,10:30] = True
    both,one = copy_detail(x*m, m),copy_detail(x*m, m, wanted=left)
    assert torch.equal(one[...,~left], (x*m)[...,~left])
    assert not torch.equal(one[...,60:80], both[...,60:80]) and (one-x*m)[...,left].abs().max() > .1
    assert torch.equal(copy_detail(x*m, m, wanted=torch.zeros_like(left)), x*m)
    assert torch.equal(copy_detail(x*m, m, wanted=torch.ones_like(left)), both), 'known pixels are never wanted'


@pytest.mark.parametrize('size', [(200, 300), (203, 301)])
def test_a_strong_blur_is_that_of_the_whole_picture(size):
    x = to_tensor(crop_photo(sample_photos()['china'], size))[None]
    for sigma in (2., 5., 6., 20.):
        soft,detail = split(x, sigma)
        whole = torch.from_numpy(gaussian_filter(x.numpy(), sigma, mode='nearest', axes=(2,3)))
        assert soft.shape == x.shape and torch.allclose(soft+detail, x, atol=1e-6)
        # at the border, the outermost pixels are averaged before they are repeated
        off,n = (soft-whole).abs(),int(3*sigma)
        assert off[...,n:-n,n:-n].max() < (1e-6 if sigma < 6 else .03) and off.mean() < .01


def test_large_blocks_go_on_in_step_by_some_of_their_pixels():
    "Stripes eight times as wide, in blocks eight times as wide"
    wave = torch.sin(torch.arange(384)*2*torch.pi/48).expand(1, 3, 384, 384)*.5
    m = torch.ones(1, 1, 384, 384); m[...,120:240,120:240] = 0
    left = (copy_detail(wave*m, m, 8.)-wave).square().sum()/(wave*m-wave).square().sum()
    assert left < .25


@pytest.mark.parametrize('scale', [0, -1, float('nan'), float('inf')])
def test_a_scale_is_positive(scale):
    with pytest.raises(ValueError, match=f'scale is to be positive, not {scale}'):
        copy_detail(torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32), scale)


def test_a_mask_has_the_photos_size():
    with pytest.raises(ValueError, match=r"of the photo's size, not \(1, 1, 32, 31\)"):
        copy_detail(torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 31))


def test_other_dtypes_and_small_scales_give_the_same_kind_of_fill():
    set_seed(0)
    x,m = torch.rand(1, 3, 40, 40)*2-1,torch.ones(1, 1, 40, 40)
    m[...,10:20,10:20] = 0
    as_it_is = copy_detail(x, m)
    for other in (m.bool(), m.byte(), m.half()): assert torch.equal(copy_detail(x, other), as_it_is)
    assert torch.equal(copy_detail(x, m, wanted=1-m[0,0]), as_it_is)
    half = copy_detail(x.half().requires_grad_(), m)
    assert half.dtype == torch.float16 and (half.float()-as_it_is).abs().mean() < .01
    for scale in (.01, .12): assert copy_detail(x, m, scale).isfinite().all()
