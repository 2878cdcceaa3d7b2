"""The Python API, which ``bulkcert`` itself has the names of."""
