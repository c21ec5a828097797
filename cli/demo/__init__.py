"""`cxm demo`: everything of cxm at work, on a simulated pool and a repository of this machine."""
