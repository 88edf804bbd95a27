"""``python showgraph.py --show_loss --show_acc`` is ``fedtier graph``: draw loss and accuracy, straight from S3."""

from fedtier_cli.graph_command import graph

graph(prog_name="showgraph.py")
