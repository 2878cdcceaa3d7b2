"""What people read: each view says what it is given; nothing here decides."""
