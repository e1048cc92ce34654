using System.Globalization;

namespace Agency.Analytics.Tests;

public sealed class TimeRangeTests
{
    [Theory]
    [InlineData("hour", "2011-12-31T23:59:59", "2011-12-31T23:00:00", "2012-01-01T00:00:00")]
    [InlineData("day", "2012-02-29T23:59:59", "2012-02-29T00:00:00", "2012-03-01T00:00:00")]
    [InlineData("week", "2012-01-01T10:00:00", "2011-12-26T00:00:00", "2012-01-02T00:00:00")]
    [InlineData("week", "2012-01-02T00:00:00", "2012-01-02T00:00:00", "2012-01-09T00:00:00")]
    [InlineData("month", "2011-02-28T23:00:00", "2011-02-01T00:00:00", "2011-03-01T00:00:00")]
    public void An_interval_starts_on_its_boundary(string interval, string time, string start, string next)
    {
        Assert.Equal(At(start), Interval.Floor(interval, At(time)));
        Assert.Equal(At(next), Interval.Next(interval, At(start)));
    }

    [Fact]
    public void Parts_cover_each_hour_of_a_range_once_and_with_few_rows()
    {
        var random = new Random(1);
        for (var i = 0; i < 500; i++)
        {
            var from = At("2010-01-01T00:00:00").AddHours(random.Next(20_000));
            var range = new TimeRange(from, from.AddHours(1 + random.Next(i % 2 == 0 ? 60 : 10_000)));
            foreach (var coarsest in new[] { Interval.Hour, Interval.Day, Interval.Week, Interval.Month })
            {
                var parts = range.Cover(coarsest);
                CoverOnce(range, parts);
                Assert.All(parts, p => Assert.NotEqual(Interval.Week, p.Resolution));
                // At the ends at most 23 hours and 30 days each, and in between one row for each interval at most.
                Assert.True(coarsest != Interval.Month || Rows(parts) <= (2 * (23 + 30)) + 15);
            }

            var sketches = range.CoverByUniques();
            CoverOnce(range, sketches);
            // Of the days at the ends of months and years, weeks are made.
            Assert.True(Rows(sketches) <= 2 * (23 + (2 * 6) + 5 + 11));
        }

        static void CoverOnce(TimeRange range, IReadOnlyList<RollupPart> parts)
        {
            Assert.Equal(range.From, parts[0].From);
            Assert.Equal(range.To, parts[^1].To);
            Assert.All(parts.Zip(parts.Skip(1)), pair => Assert.Equal(pair.First.To, pair.Second.From));
            Assert.All(parts, p => Assert.True(p.From < p.To && p.From == Interval.Floor(p.Resolution, p.From) && p.To == Interval.Floor(p.Resolution, p.To)));
        }

        static int Rows(IReadOnlyList<RollupPart> parts) => parts.Sum(p => new TimeRange(p.From, p.To).Starts(p.Resolution).Count());
    }

    private static DateTime At(string text) => DateTime.Parse(text + "Z", CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal);
}
