using System.Globalization;

namespace Agency.Worker.Tests;

public sealed class TimerScheduleTests
{
    [Theory]
    [InlineData("0 */5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00")]
    [InlineData("*/15 * * * * *", "2026-01-01T00:00:14", "2026-01-01T00:00:15")]
    [InlineData("0 30 9 * * MON-FRI", "2026-01-02T09:30:00", "2026-01-05T09:30:00")]
    [InlineData("0 0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00")]
    [InlineData("0 0 8,20 1 jan,jul *", "2026-01-01T08:00:00", "2026-01-01T20:00:00")]
    [InlineData("0 0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00")]
    [InlineData("0 10-20/5 * * * *", "2026-01-01T00:15:00", "2026-01-01T00:20:00")]
    [InlineData("30 4 * * *", "2026-01-01T04:30:00", "2026-01-02T04:30:00")]
    [InlineData("59 59 23 31 12 *", "2026-12-31T23:59:59", "2027-12-31T23:59:59")]
    [InlineData("00:00:30", "2026-01-01T00:00:10", "2026-01-01T00:00:40")]
    public void The_next_time_is_the_first_that_fits(string schedule, string after, string expected) =>
        Assert.Equal(Utc(expected), TimerSchedule.Parse(schedule).Next(Utc(after)));

    [Theory]
    [InlineData("")]
    [InlineData("* * *")]
    [InlineData("60 * * * * *")]
    [InlineData("* * * 0 * *")]
    [InlineData("* * * * * FUN")]
    [InlineData("5-1 * * * * *")]
    [InlineData("*/0 * * * * *")]
    [InlineData("1/2/3 * * * * *")]
    [InlineData("1-2-3 * * * * *")]
    [InlineData("00:00:00")]
    [InlineData("-00:01:00")]
    public void What_is_no_schedule_is_refused(string schedule) => Assert.Throws<FormatException>(() => TimerSchedule.Parse(schedule));

    [Fact]
    public void A_date_that_never_comes_is_refused() =>
        Assert.Throws<FormatException>(() => TimerSchedule.Parse("0 0 0 31 2 *").Next(Utc("2026-01-01T00:00:00")));

    private static DateTime Utc(string text) => DateTime.Parse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal);
}
