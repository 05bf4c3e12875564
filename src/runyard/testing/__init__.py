"""What shows that a part keeps its promises, for those who write another one."""
