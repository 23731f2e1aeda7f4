"""The benchmark anyone can run: `python -m bench` lists what it measures."""
