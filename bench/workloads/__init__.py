"""The workloads: what is measured. How it is measured is in measure/."""
