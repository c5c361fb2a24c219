"""What the tests stand on: servers, surroundings and sellers of their own."""
