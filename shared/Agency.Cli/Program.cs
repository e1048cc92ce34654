using Agency.Cli;

return await Commands.RunAsync(args, Terminal.OfThisProcess());
