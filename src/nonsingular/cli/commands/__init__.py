"""One file a command, found by its name: ``command`` is what it does, ``SHOWN`` its section of ``--help``."""

YOUR_NETWORK = "Your own network"
THE_PAPERS = "The papers"
THIS_MACHINE = "This machine"
HIDDEN = "For developers"

SECTIONS = (YOUR_NETWORK, THE_PAPERS, THIS_MACHINE, HIDDEN)
