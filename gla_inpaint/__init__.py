__version__ = "0.1.0"

import os, sys

# Importing torch takes seconds: Ctrl-C meanwhile is one line from a command too
_command = os.path.basename(sys.argv[0]) if sys.argv else ''
_module = next((a for a in sys.orig_argv[1:4] if a.startswith('gla_inpaint.')), '')
if _command.startswith('gla_') or _command == '-m' and _module:
    # torch's threads wait by spinning, each at the others' cost where processes share the cores: two that
    # filled 256x256 side by side took 13.7 s for twenty passes, and 4.5 where threads sleep soon.
    # One that is alone loses about 7 %. Read while torch is loaded; what you have set yourself stays
    if not {'OMP_WAIT_POLICY', 'GOMP_SPINCOUNT'} & os.environ.keys():
        os.environ['GOMP_SPINCOUNT'] = '1000'
    def _excepthook(kind, value, trace, hook=sys.excepthook):
        if not issubclass(kind, KeyboardInterrupt): return hook(kind, value, trace)
        print(f'{_command if _command != "-m" else _module}: interrupted', file=sys.stderr)
    sys.excepthook = _excepthook
