"""Pages, partials and sockets for people."""
