"""The review room: people look at takes side by side, vote without knowing which is which, and the votes are kept.

contests (which comparisons there are and which comes next), store (ballots in SQL), catalogue (what the workspace has to
show), media (opaque addresses of clips), wall and compare (what the page is given), page (gradio), server (FastAPI).
"""
