"""The commands of ``evounet``, one module a topic; heavy imports happen inside the functions."""
