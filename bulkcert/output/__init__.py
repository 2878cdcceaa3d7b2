"""What bulkcert writes; ``files`` makes every file appear under its name whole and durable."""
