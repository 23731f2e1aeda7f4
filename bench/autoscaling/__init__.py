"""A day of streams against the autoscaling of the Helm chart, simulated second by second.

Nothing runs here: the rules are read from rendered manifests, the limits of a pod are measured.
"""
