"""Small wrong versions of the library. Each must be caught by a named check of the notebook that teaches the piece.

    python tests/mutants.py [NOTEBOOK ...] [--jobs N]

applies them one at a time to a copy of the library and of the notebook, never to the checkout, and runs the notebook until a cell fails. A mutant is
caught where that cell has a label `check-...` and fails by an assertion. Everything else is a survivor: all cells pass, a cell without a name fails,
or something crashes. The notebooks as they are run too, and must pass. Exit status 1 for a survivor, and for a mutant whose old text is not there
exactly once. A run of all of them writes nbs/paper/results/mutants.csv; with the names of notebooks, theirs alone are run and nothing is written."""
import argparse, csv, json, multiprocessing, os, platform, re, shutil, subprocess, sys, tempfile, time, traceback
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
Mutant = namedtuple('Mutant', 'notebook wrong old new') # where, what is wrong, the right text, the wrong text

MUTANTS = [Mutant(*m) for m in [
    # a hole is white, a mask is 1 where the photo is known
    ('00_masks', 'mask polarity: 1 in the hole', "hole <= .5)", "hole > .5)"),
    ('00_masks', 'hole ratio inverted: the share that is known', "np.count_nonzero(hole)/hole.size", "1 - np.count_nonzero(hole)/hole.size"),
    ('00_masks', 'the brush does not grow with the picture', "rng.uniform(*brush)*diag", "rng.uniform(*brush)*362"),
    ('00_masks', 'bucket edges: the upper end counts as inside', "if lo <= got < hi:", "if lo <= got <= hi:"),
    ('00_masks', 'holes biased: all at the low end of their bucket', "target = rng.uniform(*ratio)", "target = ratio[0]"),
    ('00_masks', 'mask resized by averaging, so that it gets greys', "mode='nearest'", "mode='bilinear'"),
    # photos
    ('01_data', 'wrong range: photos in [0,1]', ".float()/127.5 - 1", ".float()/255"),
    ('01_data', 'the hole still shows the photo', "return truth*mask,mask,truth", "return truth,mask,truth"),
    ('01_data', 'validation draws new holes in each epoch', "self.epoch if self.train else 0", "self.epoch"),
    # eq. 1-5
    ('02_mpga', 'one mask serves the whole batch', "mask.shape[:2] != (len(psi), 1)", "mask.shape[1] != 1"),
    ('02_mpga', 'eq. 2, mask polarity: what is known is pruned', "return rho*m\n", "return rho*(1-m)\n"),
    ('02_mpga', 'eq. 2 prunes queries, not keys', "return rho*m\n", "return rho*m.mT\n"),
    ('02_mpga', 'eq. 2: multiply and exclude exchanged', "if check_prune(prune) == 'multiply'", "if check_prune(prune) == 'exclude'"),
    ('02_mpga', 'eq. 2: exclude is what MPGA does unasked', "prune:str='multiply', # hole keys score 0", "prune:str='exclude', # hole keys score 0"),
    ('02_mpga', 'eq. 3: softmax over the queries, not the keys', "prune).softmax(-1)", "prune).softmax(-2)"),
    ('02_mpga', 'eq. 3: scores divided by the root of C, which is the default of attention', "scale=1.).flatten", ").flatten"),
    ('02_mpga', 'eq. 3: the key of the whole hole counts for one pixel', "count.to(q.dtype).log()", "count.to(q.dtype).clamp(max=1).log()"),
    ('02_mpga', 'eq. 3: exclude without its fallback where nothing is known', "n = n*(m.amax(1) == 0)", "n = 0*n"),
    ('02_mpga', 'eq. 4: values from the wrong omega', "v = per_pixel(omegas[2]", "v = per_pixel(omegas[1]"),
    ('02_mpga', "eq. 4: right values, but no gradient through the hole's key", "((1-m)*x)", "((1-m)*x.detach())"),
    ('02_mpga', 'eq. 5, mask polarity: keeps the hole', "(m*x + psi_p).mT", "((1-m)*x + psi_p).mT"),
    # eq. 6-12
    ('03_gla', 'eq. 7 prunes queries, not keys', "return rho*known", "return rho*known[:,None]"),
    ('03_gla', 'eq. 8, the fast version: softmax over the wrong axis of a patch', "pm.mT, prune).softmax(-1)", "pm.mT, prune).softmax(-2)"),
    ('03_gla', 'eq. 10, mask polarity in a patch', "pm*take_patches(x, idx) + (1-pm)*", "(1-pm)*take_patches(x, idx) + pm*"),
    ('03_gla', 'eq. 11: cosine without the norm', "products(scale*unit(query), pool)", "products(scale*query.flatten(2), pool)"),
    ('03_gla', 'eq. 12: softmax over the places, not the candidates', "return s.softmax(-1)", "return s.softmax(-2)"),
    ('03_gla', 'eq. 12: scale missing', "products(scale*unit(query), pool)", "products(unit(query), pool)"),
    ('03_gla', 'overlap not divided out', "(total/count.clamp(min=1)[:,None])", "total"),
    ('03_gla', 'omegas not shared: the patches have their own', "for omega in (self.omega1, self.omega2, self.omega3)]", "for omega in MPGA(psi.shape[1]).to(psi).children()]"),
    ('03_gla', 'what lies outside the map counts as known', "self.around(psi),self.around(m)", "self.around(psi),1-self.around(1-m)"),
    ('03_gla', 'matched pixels side by side: the dilation is missing', "self.patch, self.rate, self.rate)", "self.patch, self.rate)"),
    ('03_gla', 'patches are pasted raw, holes and all', "self.prune_patches(x, m, qkv, paste, allowed)", "take_patches(x, paste)"),
    ('03_gla', "candidates: the hole's own patches too, unasked", "candidates:str='known', # patches to paste", "candidates:str='all', # patches to paste"),
    ('03_gla', 'candidates: what is pasted may hold a hole', "(share == 1).all(0)", "(share[0] == 1)"),
    ('03_gla', 'candidates: partly known means half known', "(share > 0).all(0)", "(share > .5).all(0)"),
    ('03_gla', 'candidates: no fallback where there are none', "for kind in others:", "for kind in others[:0]:"),
    ('03_gla', 'no global step before the local one', "self.around(self.attend(psi, m, matching_grid(psi, self.rate)))", "self.around(psi)"),
    # Tables A1, A2
    ('04_generator', 'leaky slope 0.01', "nn.LeakyReLU(.2,", "nn.LeakyReLU(.01,"),
    ('04_generator', 'stride 1 for 2 in the regular branch', "(2*w,), (2*w,3,2), (4*w,), (4*w,)]", "(2*w,), (2*w,3,1), (4*w,), (4*w,)]"),
    ('04_generator', 'dilation rates 1, 2, 4, 8', "for rate in (2,4,8,16)", "for rate in (1,2,4,8)"),
    ('04_generator', 'doubling with its taps in reverse', "[c, b+c, a+b, a]", "[a, a+b, b+c, c]"),
    ('04_generator', 'clamp missing', "nn.Hardtanh())", "nn.Identity())"),
    ('04_generator', 'a leaky ReLU before the clamp, as printed', "Conv(w//2, 3, act=False)", "Conv(w//2, 3)"),
    ('04_generator', 'the attention module gets the mask upside down', "self.attention(self.head(x), mask)", "self.attention(self.head(x), 1-mask)"),
    ('04_generator', 'composite reversed: the photo in the hole', "img*mask + generated*(1-mask)", "img*(1-mask) + generated*mask"),
    ('04_generator', 'the refinement reads the raw coarse output', "self.refine(composite(coarse, x, m), m)", "self.refine(coarse, m)"),
    ('04_generator', 'padding counts as known', "self.pad(mask)", "1-self.pad(1-mask)"),
    ('04_generator', 'what lies under the hole leaks in', "self.pad(holed.masked_fill(mask == 0, 0))", "self.pad(holed)"),
    # Table A3
    ('05_discriminator', 'spectral norm missing', "nn.Sequential(spectral_norm(c), nn.LeakyReLU(.2))", "nn.Sequential(c, nn.LeakyReLU(.2))"),
    ('05_discriminator', 'dropout missing', "dropout:float=.2", "dropout:float=0."),
    ('05_discriminator', 'dilation 2, as printed', "dilation:int=1", "dilation:int=2"),
    ('05_discriminator', 'a sigmoid behind the logits', "self.head(self.layers(img))", "self.head(self.layers(img)).sigmoid()"),
    # eq. 13-20
    ('06_losses', 'SSIM without its Gaussian window', "sigma=1.5, data_range=1.", "gaussian_kernel=False, data_range=1."),
    ('06_losses', 'SSIM for the wrong range', "data_range=1.", "data_range=2."),
    ('06_losses', 'SSIM counts windows that leave the image', "[..., e:-e, e:-e].mean", ".mean"),
    ('06_losses', 'SSIM in half precision under autocast', "enabled=False", "enabled=torch.is_autocast_enabled('cpu')"),
    ('06_losses', 'eq. 13: lambda exchanged', "lam*F.l1_loss(as_float(x), as_float(truth)) + (1-lam)*", "(1-lam)*F.l1_loss(as_float(x), as_float(truth)) + lam*"),
    ('06_losses', 'eq. 13 for the refined output alone', "return one(coarse) + one(refined)", "return one(refined)"),
    ('06_losses', 'eq. 16, 17: the two means exchanged', "real - rank_mean(fake), fake - rank_mean(real)", "real - rank_mean(real), fake - rank_mean(fake)"),
    ('06_losses', 'eq. 17: no gradient through the average', "fake - rank_mean(real)", "fake - rank_mean(real.detach())"),
    ('06_losses', 'eq. 14: the hinge with the wrong sign', "F.relu(1-r).mean() + F.relu(1+f).mean()", "F.relu(1+r).mean() + F.relu(1-f).mean()"),
    ('06_losses', 'eq. 15: real and generated exchanged', "F.relu(1-f).mean() + F.relu(1+r).mean()", "F.relu(1-r).mean() + F.relu(1+f).mean()"),
    ('06_losses', 'eq. 18: Lorentzian without the absolute value', ".abs().log1p()", ".log1p()"),
    ('06_losses', 'eq. 18: Lorentzian without the logarithm', ".abs().log1p()", ".abs()"),
    ('06_losses', 'eq. 20: the Lorentzian subtracted', "ra_hinge_d(real, fake) + (", "ra_hinge_d(real, fake) - ("),
    # Tables 1-3
    ('07_metrics', 'PSNR for the wrong range', "-10*mse.log10()", "-10*(mse/4).log10()"),
    ('07_metrics', 'L1 not times 100', "return 100*l1, 100*mse", "return l1, 100*mse"),
    ('07_metrics', 'mask polarity: measures what is known', "1-as_float(mask)", "as_float(mask)"),
    ('07_metrics', 'the whole-image numbers over the hole alone', "('', torch.ones_like(hole)", "('', hole"),
    ('07_metrics', 'bucket edges shifted by ten percent', "((.2,.3), (.3,.4), (.4,.5))", "((.1,.2), (.2,.3), (.3,.4))"),
    # eq. 19, 20 in training
    ('08_learner', "detach missing: D's step reaches G", "fake.detach(), self.synced", "fake, self.synced"),
    ('08_learner', "D's graph used again after D's step",
     "for _ in range(self.d_steps): self.step_d(truth, fake)\n    if self.warmed < self.alone_for: self.skip_g()\n"
     "    self.learn.loss_grad = self.loss_grad + self.adv_weight*self.loss_g(truth, fake)",
     "adv = self.loss_g(truth, fake)\n    for _ in range(self.d_steps): self.step_d(truth, fake)\n    if self.warmed < self.alone_for: self.skip_g()\n"
     "    self.learn.loss_grad = self.loss_grad + self.adv_weight*adv"),
    ('08_learner', "G's loss leaves gradients in D", "self.net.requires_grad_(False)", "self.net.requires_grad_(True) "),
    ('08_learner', 'photo and composite exchanged', "net(torch.cat([truth, fake]))", "net(torch.cat([fake, truth]))"),
    ('08_learner', "D keeps its first learning rate", "for k in ('lr', 'mom',", "for k in ('mom',"),
    ('08_learner', "Adam's first beta lost in the schedule", " moms=(.5,.5,.5),", ""),
    ('08_learner', "fastai's second beta, 0.99", "sqr_mom=.9,", "sqr_mom=.99,"),
    ('08_learner', "fastai's epsilon, 1e-5", "sqr_mom=.9, eps=1e-8,", "sqr_mom=.9, eps=1e-5,"),
    ('08_learner', 'metrics of the raw output, not the composite', "inpaint_metrics(composite(learn.pred[1], holed, mask), truth, mask)", "inpaint_metrics(learn.pred[1], truth, mask)"),
    ('08_learner', "the gap's sign", "gap=(r-f).mean()", "gap=(f-r).mean()"),
    ('08_learner', "D's own rate is ignored", "*times.get(k, 1.)", ""),
    ('08_learner', 'G learns in the warm-up of D', "    raise CancelBatchException", ""),
    ('08_learner', 'the schedule runs on in the warm-up', "(self.train_iter-self.warmed)/(n-self.alone_for)", "self.train_iter/n"),
    ('08_learner', 'the mean of the weights begins at its full decay', "min(self.decay, (1+self.n)/(10+self.n))", "self.decay"),
    ('08_learner', 'averaged weights that nobody looks at', "self.average.net is not None: self.model = self.average.net", "self.average.net is not None: pass"),
    ('08_learner', "a method's own loss counts without its weight", "net.asked[name]*value", "value"),
    ('08_learner', 'the truth stays where other callbacks look', "if self.training: self.learn.xb = self.xb[:2]", "pass"),
    ('08_learner', 'a picture is paid for twice where there is only one', "coarse if self.stages == 2 else None", "coarse"),
    # a name and a budget
    ('08_nets', 'the next larger network, not the nearest', "size-n < n-below", "True"),
    ('08_nets', 'half of the budget', "while size < n:", "while 2*size < n:"),
    ('08_nets', 'true counts as one, and one as true', "return isinstance(value, bool)", "return isinstance(value, int)"),
    ('08_nets', 'settings are taken as they come', "check_settings(kind := net_class(name), settings)", "kind = net_class(name)"),
    # any photo, any hole
    ('09_holes', 'white is what is known', "return bright >= .5", "return bright < .5"),
    ('09_crops', 'a long stroke stays whole', "if max(h, w) <= cell: continue", "continue"),
    ('09_crops', 'resized with what lies under the hole', "resize(img*mask, size)/share", "resize(img, size)/share"),
    ('09_detail', 'the fill lends to itself', "every)[0,0] == 1", "every)[0,0] >= 0"),
    ('09_detail', 'the blocks that look least alike', "topk(k, largest=False)", "topk(k, largest=True)"),
    ('09_detail', 'blocks do not go on in step', "(alike + in_step +", "(alike + 0*in_step +"),
    ('09_detail', 'r is not a share', "return best,in_step[i]/energy", "return best,in_step[i]*energy"),
    ('09_detail', 'the known pixels get new detail too', "torch.where(wanted, result, filled)", "result"),
    ('09_blend', 'the seam doubled: membrane with the wrong sign', "return painted + error", "return painted - error"),
    ('09_inference', 'known pixels repainted too', "paste(pixels[t:b,l:r], own, to_pixels(rgb[own], photo))", "paste(pixels[t:b,l:r], own|True, to_pixels(rgb[own|True], photo))"),
    # runs
    ('11_train', 'each process drops the same features', "SeedSequence((seed, step, rank))", "SeedSequence((seed, step))"),
    ('11_train', 'a damaged checkpoint is read', "if sha256(data).hexdigest()[:16] == path.stem[-16:]: return", "if True: return"),
    ('11_train', 'three checkpoints stay', "[1-keep:]", "[-keep:]"),
    ('11_train', "Adam's averages forgotten", "        _load_opt(opt, o)\n", ""),
    ('11_train', 'a resumed epoch begins at its first batch', "dl.first = done[1]", "dl.first = 0"),
    ('11_train', 'a resumed run counts its steps from 0', "self.learn.train_iter,first = state['train_iter'],", "self.learn.train_iter,first = 0,"),
    ('11_train', 'a resumed epoch begins the schedule of its pass anew', "for _ in range(first): self.learn.pct_train += step", "pass"),
    ('11_train', 'the clock does not move the schedule', "min(1., self.spent/self.minutes)", "0."),
    ('11_train', 'bucket edges: the upper end counts as inside', "(ratio >= lo) & (ratio < hi)", "(ratio > lo) & (ratio <= hi)"),
    ('11_train', 'validation of the raw output, not the composite', "inpaint_metrics(composite(self.pred[1], holed, mask), truth, mask)", "inpaint_metrics(self.pred[1], truth, mask)"),
    # drawing
    ('10_draw', 'a brush twice as wide as it is shown', "area,r = np.zeros(shape, dtype=bool),width/2", "area,r = np.zeros(shape, dtype=bool),width"),
    ('10_draw', 'pixels counted by their corners, not their centres', "np.floor(last+.5)], 0, n)", "np.floor(last+1)], 0, n)"),
    ('10_draw', 'the eraser adds where there is nothing to take', "hole & ~area if tool == 'eraser'", "hole ^ area if tool == 'eraser'"),
    ('10_draw', 'a stroke through no number at all', "abs(v) <= FAR", "not abs(v) > FAR"),
    ('10_draw', 'the picture of a hole clear in the hole', "bits=1, transparency=0)", "bits=1, transparency=1)"),
    ('10_draw', 'what was undone outlives a new stroke', "self.now,self.future = new,[]", "self.now = new"),
    # measured
    ('12_evaluate', 'a method sees what lies under the hole', "holed,began = truth*mask,", "holed,began = truth,"),
    ('12_evaluate', 'a method may repaint what is known', "filled = composite(filled, holed, mask)\n", "\n"),
    ('12_evaluate', 'rows of other code and machines are used again', "'method','made_by','measured_by')", "'method','made_by')"),
    ('12_evaluate', 'the interval holds half of the means, not 95 %', "np.quantile(means, (.025,.975)", "np.quantile(means, (.25,.75)"),
    # the main job in one command
    ('13_demo', 'trained on what it is judged by', "[p for n,p in photos.items() if n not in HELD_OUT]", "list(photos.values())"),
    ('13_demo', 'the network begins with other weights each time', "    set_seed(seed)\n", ""),
    ('13_demo', 'the result is the raw output, not the composite', "result = composite(refined, holed, mask)", "result = refined"),
    # shared
    ('14_hub', 'weights are shared in full precision', "half:bool=True, # float16", "half:bool=False, # float16"),
    ('14_hub', 'the label is lost', "getattr(net, 'label', ''), half)", "'', half)"),
    ('14_hub', 'a page with text loses the lines for the Hub', "if text.startswith('---'): return text", "if text: return text"),
    ('14_hub', "what is uploaded is the package's weights", "save_pretrained(model, folder, text)", "save_pretrained(None, folder, text)"),
    # other methods
    ('others/01_contextual', 'softmax over places, not over candidates', ".softmax(-1)", ".softmax(1)"),
    ('others/01_contextual', 'the mask of the first photo for all', "F.pad(mask_like(mask, psi)", "F.pad(mask_like(mask[:1].expand_as(mask), psi)"),
    ('others/01_contextual', 'neighbours do not vote', "propagate(s, size, self.fuse)*clean", "s*clean"),
    ('others/01_contextual', 'neighbours vote along rows alone', "for dim in (2, 1):", "for dim in (2,):"),
    ('others/01_contextual', 'the middle of a hole counts most', "out = out + gamma**i*(grown-known)", "out = out + gamma**-i*(grown-known)"),
    ('others/02_partial', 'the sum is not scaled up', "y = y*(known/share.clamp(min=1e-6))", "y = y*known"),
    ('others/02_partial', 'the bias is scaled too', "self.weight, None, self.stride, self.padding)\n        y = y*(known/share.clamp(min=1e-6))\n        return y + known*self.bias.view(-1,1,1),known",
     "self.weight, self.bias, self.stride, self.padding)\n        y = y*(known/share.clamp(min=1e-6))\n        return y,known"),
    ('others/02_partial', 'half a window must be known', "(share > 0).float()", "(share > .5).float()"),
    ('others/02_partial', 'which places are alike, and not which features', "products(f, f)", "products(f.mT, f.mT)"),
    ('others/03_multicolumn', 'the mean is over channels, not over places', "true.mean(2, keepdim=True)", "true.mean(1, keepdim=True)"),
    ('others/03_multicolumn', 'each generated patch has a favourite, as always', "w.amax(1).mean(1)", "w.amax(2).mean(1)"),
    ('others/03_multicolumn', 'confidence does not spread on', "F.conv2d(m+w,", "F.conv2d(m,"),
    ('others/03_multicolumn', 'the window of the paper, at every size', "(size or photo//4)", "(size or 65)"),
    ('others/04_gated', 'the gate is the wrong half', "features,gates = self.conv(x).chunk(2, 1)", "gates,features = self.conv(x).chunk(2, 1)"),
    ('others/04_gated', 'tanh for the sigmoid', "gates.sigmoid()", "gates.tanh()"),
    ('others/04_gated', 'features start no larger than elsewhere', "features.mul_(1.6)", "features.mul_(1)"),
    ('others/05_edge', 'Canny without the mask: the rim of the hole is an edge', "find_edges(g, sigma, mask=m)", "find_edges(g, sigma)"),
    ('others/05_edge', 'composite inverted: drawn edges where the true ones are known', "edges = composite(edges, known, m)", "edges = composite(known, edges, m)"),
    ('others/05_edge', 'unweighted: an edge counts as any other pixel', "(_mean(hole*edges) + _mean(hole*(1-edges)))/2", "_mean(hole)"),
    ('others/05_edge', 'no teacher: drawn edges from the first step', "if self.done < self.teacher: edges = true", "if self.done < 0: edges = true"),
    ('others/06_pluralistic', 'the divergence is reversed', "normal_kl(*fixed, *p)", "normal_kl(*p, *fixed)"),
    ('others/06_pluralistic', 'the posterior moves towards the prior', "[t.detach() for t in q]", "list(q)"),
    ('others/06_pluralistic', 'a sample in use', "mean if z is None", "draw(mean, sigma) if z is None"),
    ('others/06_pluralistic', "the encoder's features are mixed where known", "self.alpha*(1-m)*mix(encoded) + m*encoded", "self.alpha*m*mix(encoded) + (1-m)*encoded"),
    ('others/06_pluralistic', 'the truth is pasted where known', "composite(truth, result, m)", "composite(result, truth, m)"),
    ('others/07_fusion', 'the opacity upside down', "alpha*raw + (1-alpha)*photo", "(1-alpha)*raw + alpha*photo"),
    ('others/07_fusion', 'an opacity without sigmoid', "Conv(3, 3, 1, act=False), nn.Sigmoid())", "Conv(3, 3, 1, act=False))"),
    ('others/07_fusion', 'photos shrink with the zeros of their holes', "F.avg_pool2d(x, times)/share.clamp(min=1e-6)", "F.avg_pool2d(x, times)"),
]]

SKIPPED = {'notest', 'slow', 'cuda'} # as settings.ini has it for nbdev_test
SERVER = multiprocessing.get_context('forkserver') # has imported once what all notebooks import; each run is a fork of it
SERVER.set_forkserver_preload(['execnb.shell', 'fastai.learner', 'fastcore.test', 'matplotlib.pyplot', 'nbdev.showdoc', 'pandas', 'skimage.metrics', 'sklearn.datasets', 'torchmetrics.functional.image'])


# the parts of a notebook

def directives(source):
    "What follows `#|` in a cell: {name: the rest of the line}"
    return dict(re.findall(r'^#\|\s*([\w-]+):?[ \t]*(.*)$', source, re.M))

def code_cells(
    notebook:Path, # .ipynb
)->list: # (id, source) of each code cell
    "The code of a notebook."
    return [(c.get('id'), ''.join(c['source'])) for c in json.loads(notebook.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']

def is_exported(source): return bool({'export', 'exports', 'exporti'} & directives(source).keys())

def module_of(notebook):
    "others/04_gated is where others/gated.py comes from"
    path = Path(notebook)
    return path.with_name(f"{path.name.split('_', 1)[1]}.py").as_posix()


# to apply a mutant

def put_in(
    mutant:Mutant, # its old text must be there exactly once
    texts:list, # of which one holds it
    where:str, # for the error
)->list: # the texts, one of them mutated
    "Old text out, new text in. ValueError unless the old text is there exactly once."
    n = sum(t.count(mutant.old) for t in texts)
    if n != 1: raise ValueError(f"{mutant.notebook}, {mutant.wrong}: {where} has {mutant.old!r} {n} times, not once")
    return [t.replace(mutant.old, mutant.new) for t in texts]

def mutated(
    mutant:Mutant, # what to apply
    root:Path, # the project
)->tuple: # (text of the module, text of the notebook)
    "The library's module and its notebook, both with the mutant. ValueError where it does not apply, SyntaxError where it is no Python."
    name = module_of(mutant.notebook)
    module, = put_in(mutant, [(root/'gla_inpaint'/name).read_text(encoding='utf-8')], name)
    compile(module, name, 'exec')
    nb = json.loads((root/'nbs'/f'{mutant.notebook}.ipynb').read_text(encoding='utf-8'))
    cells = [c for c in nb['cells'] if c['cell_type'] == 'code' and is_exported(''.join(c['source']))]
    for c,source in zip(cells, put_in(mutant, [''.join(c['source']) for c in cells], 'the notebook')): c['source'] = source.splitlines(True)
    return module,json.dumps(nb)


# to run a notebook up to its first failure

def failure(
    cell:tuple, # (id, source)
    exc:Exception, # what it raised
)->dict: # label ('' if it has none), cell, error, asserted: is it an assertion?, line: of the cell, where it failed
    "What there is to say about a cell that failed."
    id,source = cell
    frames = traceback.extract_tb(exc.__traceback__)
    ours = next((f.filename for f in frames if f.name == '<module>'), None)
    lines = [f.lineno for f in frames if f.filename == ours] # the last is the one deepest in the cell
    return dict(label=directives(source).get('label', ''), cell=id, error=f'{type(exc).__name__}: {exc}'.split('\n')[0][:200],
                asserted=isinstance(exc, AssertionError), line=source.splitlines()[lines[-1]-1].strip() if lines else '')

def first_failure(
    notebook:Path, # run where it lies, with the library beside it
): # a dict as `failure` makes it; empty where every cell ran
    "Run a notebook's cells as nbdev_test does, and stop where one fails. For a process of its own."
    from execnb.shell import CaptureShell
    root = next(p for p in notebook.parents if (p/'gla_inpaint').is_dir())
    sys.path.insert(0, str(root))
    os.chdir(notebook.parent)
    import gla_inpaint
    if not Path(gla_inpaint.__file__).is_relative_to(root): raise RuntimeError(f'{gla_inpaint.__file__} is not the mutated copy')
    shell = CaptureShell(notebook, mpl_format='png')
    for cell in code_cells(notebook):
        says = directives(cell[1])
        if SKIPPED & says.keys() or says.get('eval') == 'false': continue
        shell.run(cell[1])
        if shell.exc: return failure(cell, shell.exc)
    return {}

def _report_to(pipe, notebook):
    multiprocessing.set_start_method('fork', force=True) # for the workers of a notebook's own loaders
    pipe.send(first_failure(notebook))

def in_own_process(
    notebook:Path, # as for `first_failure`
)->dict: # what it returns
    "`first_failure` in a fork of the server, with one thread."
    os.environ |= dict(OMP_NUM_THREADS='1', MPLBACKEND='agg', PYTHONWARNINGS='ignore::FutureWarning') # for the server, which the first call starts
    here,there = SERVER.Pipe(duplex=False)
    child = SERVER.Process(target=_report_to, args=(there, notebook))
    child.start()
    there.close()
    try: return here.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f'{notebook.name} could not be run: its process ended with status {child.exitcode}') from None
    finally: child.join()

def attempt(
    mutant:Mutant, # what to apply; without an old text the notebook is run as it is
    root:Path=None, # the project; default: this one
)->dict: # as `failure` makes it, or empty where every cell ran; and the seconds it took
    "Run a mutant's notebook beside its library, both in a temporary folder and in a process of its own."
    root,began = root or ROOT,time.monotonic()
    with tempfile.TemporaryDirectory() as tmp:
        copy,name = Path(tmp).resolve(),f'{mutant.notebook}.ipynb'
        shutil.copytree(root/'gla_inpaint', copy/'gla_inpaint', ignore=shutil.ignore_patterns('__pycache__'))
        (copy/'nbs'/name).parent.mkdir(parents=True)
        weights = Path(name).parent/'weights' # which a notebook reads
        if (root/'nbs'/weights).is_dir(): shutil.copytree(root/'nbs'/weights, copy/'nbs'/weights)
        if mutant.old:
            module,nb = mutated(mutant, root)
            (copy/'gla_inpaint'/module_of(mutant.notebook)).write_text(module, encoding='utf-8')
            (copy/'nbs'/name).write_text(nb, encoding='utf-8')
        else: shutil.copy(root/'nbs'/name, copy/'nbs'/name)
        result = in_own_process(copy/'nbs'/name)
    return result | dict(seconds=round(time.monotonic()-began, 1))

def caught(result): return result.get('asserted', False) and result['label'].startswith('check-')


# all of them

def report(mutant, result):
    "A line of the table"
    if not mutant.old: verdict = 'FAILS without a mutant: '+result['error'] if 'cell' in result else 'passes'
    elif caught(result): verdict = result['label']
    else: verdict = f"SURVIVES: {result['label'] or 'no label'}, cell {result['cell']}, {result['error']}" if 'cell' in result else 'SURVIVES: no cell fails'
    print(f"{mutant.notebook:17}{result['seconds']:6.1f} s  {mutant.wrong:72} {verdict}", flush=True)

def write_results(
    mutants:list, # as run
    results:list, # one for each
    root:Path, # the project
):
    "nbs/paper/results/mutants.csv: a row for each mutant; `caught_by` is empty for a survivor."
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, cwd=root).stdout.strip()
    about = dict(date=time.strftime('%Y-%m-%d'), hardware=f'{platform.machine()}, {os.cpu_count()} cores, CPU', torch=version('torch'), commit=commit)
    rows = [m._asdict() | dict(caught_by=r['label'] if caught(r) else '', assertion=r.get('line', ''), seconds=r['seconds']) | about for m,r in zip(mutants, results)]
    out = root/'nbs'/'paper'/'results'/'mutants.csv'
    with out.open('w', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, rows[0], lineterminator='\n')
        w.writeheader()
        w.writerows(rows)

def run_all(
    mutants:list, # to apply one at a time
    root:Path, # the project
    jobs:int=2, # notebooks at once
)->list: # a result for each mutant
    "Every notebook as it is, then every mutant; a line for each. SystemExit where a mutant does not apply or a notebook fails by itself."
    try:
        for m in mutants: mutated(m, root)
    except (ValueError, SyntaxError) as e: raise SystemExit(str(e))
    healthy = [Mutant(n, '(as it is)', '', '') for n in dict.fromkeys(m.notebook for m in mutants)]
    def _one(m): result = attempt(m, root); report(m, result); return result
    with ThreadPoolExecutor(jobs) as pool: controls,results = (list(pool.map(_one, ms)) for ms in (healthy, mutants))
    if any('cell' in c for c in controls): raise SystemExit('a notebook fails by itself: mend that first')
    return results

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('notebooks', nargs='*', metavar='NOTEBOOK', help='such as 02_mpga; default: all')
    p.add_argument('--jobs', type=int, default=2, help='notebooks at once')
    args = p.parse_args(argv)
    chosen = [m for m in MUTANTS if not args.notebooks or m.notebook in args.notebooks]
    if not chosen: raise SystemExit(f"no mutants of {', '.join(args.notebooks)}")
    began,results = time.monotonic(),run_all(chosen, ROOT, args.jobs)
    alive = [m for m,r in zip(chosen, results) if not caught(r)]
    print(f'{len(chosen)} mutants, {len(alive)} survived, {(time.monotonic()-began)/60:.1f} minutes')
    if not args.notebooks: write_results(chosen, results, ROOT)
    return 1 if alive else 0

if __name__ == '__main__': sys.exit(main())
