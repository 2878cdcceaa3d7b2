"""The service: its operations, codes and signature as values, and one edge that makes calls."""
