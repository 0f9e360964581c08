"""What `cellfree sweep` makes of the points of any scenario: one table for people, and one figure.

`measured` takes means over seeds out of the points' table, `figure` decides what goes on the axes and draws, `text`
prints. Studies of papers have figures of their own.
"""
