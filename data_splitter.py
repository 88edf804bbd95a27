"""``python data_splitter.py --clients K`` is ``fedtier split``: split a data set, and publish the initial model."""

from fedtier_cli.split_command import split

split(prog_name="data_splitter.py")
