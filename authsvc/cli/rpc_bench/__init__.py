"""``authsvc bench rpc``: calls of this library beside what else one would take for them.

One requester process, one responder process, all ways in turns within each round: a machine that
gets slower does so for everybody. Everything that goes through nats-server does so as the same
two people with the same permissions; see docs/benchmarks/README.md for what is compared.
"""

from authsvc.cli.rpc_bench.places import Place, deployed, local
from authsvc.cli.rpc_bench.report import Report, as_dict, figures, table, write
from authsvc.cli.rpc_bench.rounds import Grid, measure
from authsvc.cli.rpc_bench.ways import known, ways

__all__ = [
    "Grid",
    "Place",
    "Report",
    "as_dict",
    "deployed",
    "figures",
    "known",
    "local",
    "measure",
    "table",
    "ways",
    "write",
]
