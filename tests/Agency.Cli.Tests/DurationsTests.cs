namespace Agency.Cli.Tests;

public sealed class DurationsTests
{
    [Theory]
    [InlineData("90s", 90)]
    [InlineData("30m", 1800)]
    [InlineData("1.5h", 5400)]
    [InlineData("7d", 604800)]
    public void A_number_and_a_unit_are_a_duration(string text, int seconds)
    {
        Assert.True(Durations.TryParse(text, out var time));
        Assert.Equal(TimeSpan.FromSeconds(seconds), time);
    }

    [Theory]
    [InlineData("")]
    [InlineData("h")]
    [InlineData("8")]
    [InlineData("8x")]
    [InlineData("-1h")]
    [InlineData("0s")]
    [InlineData("999999d")]
    public void Anything_else_is_not(string text) => Assert.False(Durations.TryParse(text, out _));
}
