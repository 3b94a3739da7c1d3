"""REPEATS. The loops of a running worker. Each knows the store; none knows another; worker.py joins them."""
