namespace Agency.Cli;

/// <summary>A file held by one process at a time. The system lets go of it however the process ends, so it is never stale.</summary>
internal static class FileLock
{
    // EWOULDBLOCK of Linux and of macOS, ERROR_SHARING_VIOLATION of Windows.
    private static readonly int[] Held = [11, 35, unchecked((int)0x80070020)];

    /// <summary>Null when another process, or another part of this one, holds the file.</summary>
    /// <exception cref="IOException">The file cannot be made there.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be made there.</exception>
    public static FileStream? TryTake(string file)
    {
        try
        {
            return new(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException failure) when (Held.Contains(failure.HResult))
        {
            return null;
        }
    }
}
