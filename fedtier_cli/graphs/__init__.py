"""Pictures of a federation's history: loss and accuracy of every device and of the global model over the rounds.

In comes a `fedtier_cli.series.FederationHistory`, out goes a matplotlib figure, `figure.history_figure`.
`outliers` and `spacing` decide with numbers alone which devices are named and where, and `ink` which colours there are;
the others draw, and need matplotlib.
"""
