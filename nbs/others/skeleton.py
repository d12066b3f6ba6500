"""Each idea of the other methods in our own skeleton, so that a comparison tells the idea from the network around it; and two
settings of GLA. `seven.py` trains them. They have names in `NETS` as long as this file is imported, and are no part of the package."""
import sys

import torch
from torch import nn

from gla_inpaint.generator import Conv, Inpainter, composite
from gla_inpaint.nets import NETS
from gla_inpaint.others.contextual import ContextualAttention
from gla_inpaint.others.fusion import FusionBlock
from gla_inpaint.others.gated import with_gates
from gla_inpaint.others.partial import PartialConv, leaky


class Skeleton(Inpainter):
    "`Inpainter` with a part of another method. A subclass has `change`, and its own name."
    def __init__(self,
        width:int=32, # channels of the first layers
        **kwargs, # for `Inpainter`
    ):
        super().__init__(width, **kwargs)
        self.settings = dict(width=width)
        self.change(width)
    def change(self, width): "Put the part in its place."


class WithContextual(Skeleton):
    "Contextual attention in GLA's place."
    name = 'gla+contextual'
    def __init__(self, width:int=32): super().__init__(width)
    def change(self, width): self.refine.attention = ContextualAttention()


class PartialEncoder(nn.Module):
    "Convolutions in a chain as partial ones. The last channel of the input is the mask."
    def __init__(self,
        convs, # of `Conv` without dilation
    ):
        super().__init__()
        assert all(type(c) is Conv and c[0].dilation == (1,1) for c in convs)
        self.layers = nn.ModuleList(PartialConv(
            c[0].in_channels, c[0].out_channels, c[0].kernel_size[0], c[0].stride[0]) for c in convs)
    def forward(self,
        x:torch.Tensor, # photo and mask [B,4,H,W]
    )->torch.Tensor: # [B,C,H/4,W/4]
        "The mask goes from layer to layer, and ends here."
        m = x[:,3:]
        for layer in self.layers:
            x,m = layer((x, m))
            x = leaky(x)
        return x


class WithPartial(Skeleton):
    "Partial convolutions in the coarse network, up to the dilated ones. They close holes of about 30 pixels."
    name = 'gla+partial'
    def __init__(self, width:int=32): super().__init__(width)
    def change(self, width):
        net = self.coarse
        net.head = PartialEncoder(net.head)
        net.regular = nn.Sequential(PartialEncoder(net.regular[:6]), *net.regular[6:])


class WithGated(Skeleton):
    "A gate for each convolution of both networks."
    name = 'gla+gated'
    def __init__(self, width:int=32): super().__init__(width)
    def change(self, width): with_gates(self)


class WithFusion(Skeleton):
    "A fusion block instead of the refinement's last convolution."
    name = 'gla+fusion'
    def __init__(self, width:int=32): super().__init__(width)
    def change(self, width):
        self.refine.decoder = self.refine.decoder[:-2]
        self.blend = FusionBlock(width//2)
    def fill(self, x, m, truth=None):
        coarse = self.coarse(x, m)
        features = self.refine(composite(coarse, x, m), m)
        return coarse,self.blend(features, x, m)[0]


class Partly(Skeleton):
    "GLA that may paste patches that are known in part."
    name = 'gla+partly'
    def __init__(self, width:int=32): super().__init__(width, candidates='partly')


class All(Skeleton):
    "GLA that may paste every patch."
    name = 'gla+all'
    def __init__(self, width:int=32): super().__init__(width, candidates='all')


KINDS = WithContextual,WithPartial,WithGated,WithFusion,Partly,All
SKELETONS = [kind.name for kind in KINDS]
sys.modules['gla_inpaint.skeleton'] = sys.modules[__name__]
NETS.update({kind.name: f'skeleton:{kind.__name__}' for kind in KINDS})
