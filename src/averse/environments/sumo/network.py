"""How the road network was made: plain XML and one call of netconvert. Needed only to change the network.

The generated `intersection.net.xml` is shipped, so that users need `libsumo` alone. To make it again, install
`eclipse-sumo` (for `netconvert`) and run `python -m averse.environments.sumo.network <path of netconvert>`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from averse.environments.intersection.geometry import NETWORK_FILE
from averse.environments.intersection.task import ARM_LENGTH, ARMS, MAX_SPEED

JUNCTION_RADIUS = 6.0  # m
_DIRECTIONS = {"north": (0.0, 1.0), "east": (1.0, 0.0), "south": (0.0, -1.0), "west": (-1.0, 0.0)}

NETCONVERT_OPTIONS = (
    "--no-turnarounds=true",
    "--junctions.internal-link-detail=20",
    "--precision=6",
    "--offset.disable-normalization=true",
)


def nodes_xml() -> str:
    """The junction at the origin and the far end of each arm."""
    ends = "\n".join(
        f'  <node id="{arm}" x="{x * ARM_LENGTH}" y="{y * ARM_LENGTH}" type="dead_end"/>'
        for arm, (x, y) in _DIRECTIONS.items()
    )
    # right_before_left: SUMO reports no crash at junctions of type `unregulated`
    centre = f'  <node id="center" x="0" y="0" type="right_before_left" radius="{JUNCTION_RADIUS}"/>'
    return f"<nodes>\n{centre}\n{ends}\n</nodes>\n"


def edges_xml() -> str:
    """One lane towards the junction and one away from it on each arm."""
    lines = []
    for arm in ARMS:
        lines.append(f'  <edge id="{arm}_in" from="{arm}" to="center" numLanes="1" speed="{MAX_SPEED}"/>')
        lines.append(f'  <edge id="{arm}_out" from="center" to="{arm}" numLanes="1" speed="{MAX_SPEED}"/>')
    return "<edges>\n" + "\n".join(lines) + "\n</edges>\n"


def build(netconvert: str) -> str:
    """The network as `.net.xml` text, without netconvert's comment, which names times and paths."""
    with tempfile.TemporaryDirectory() as folder:
        nodes, edges, net = (Path(folder) / name for name in ("nodes.nod.xml", "edges.edg.xml", "net.net.xml"))
        nodes.write_text(nodes_xml())
        edges.write_text(edges_xml())
        files = [f"--node-files={nodes}", f"--edge-files={edges}", f"--output-file={net}"]
        subprocess.run([netconvert, *files, *NETCONVERT_OPTIONS], check=True, capture_output=True)
        return re.sub(r"<!--.*?-->\s*", "", net.read_text(), flags=re.DOTALL)


if __name__ == "__main__":
    NETWORK_FILE.write_text(build(sys.argv[1]))
