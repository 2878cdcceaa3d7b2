"""The commands: what each takes is in ``signatures``, what it does in a module of its name loaded when given.

The function of a module that has its name takes what is explained in ``signatures``.
"""

OVERVIEW = """\
Switch very many device certificates of ApsaraMQ for MQTT off or on.
    bulkcert rehearse inactivate-device devices.csv
    bulkcert run inactivate-device devices.csv --instance ID --region REGION

Prepare  inventory  List registered certificates into a file, as an input
         plan       Find out what a run would do and cost; change nothing
         policy     Print the minimal RAM policy for what a run calls
         rehearse   Do the same against a local emulator: no account needed
         emulator   Serve a local emulator of the service until stopped
         cluster    Make the keys of several machines that call together
         lane       Call for runs on another machine, until stopped
Change   run        Make one call for each row of a list; write the outcomes
         resume     Resume what was interrupted, or retry failed rows
         undo       Undo what a run has changed
Check    verify     Read back the status of every row of a run
         status     Show the status of a run, from another terminal
         control    Change the rate of a running session; pause or stop it
         runs       List the runs in a directory
         report     Report a run in one page, as HTML, text, Markdown or JSON
         export     Write results again, all rows or some, in any format
         help       Show the help of a command, or a topic

bulkcert COMMAND --help shows options; --job FILE (BULKCERT_JOB) reads them from
a job file, BULKCERT_... from the environment. --version, --install-completion
"""
"""The first page of the help, in 24 lines of 80 columns; it is here so that nothing is loaded for it."""
